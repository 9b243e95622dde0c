#!/bin/sh
# shellcheck shell=dash
# What systemd/install and the package's maintainer scripts do alike. Sourced by them, after they have set
#   who      who speaks
#   root     where the machine's tree begins; empty for this one
#   files    the directory of `placed` and of the files that it names
#   control  what units are started with: systemctl, or deb-systemd-invoke, which asks what the machine's owner allows
: "${who:?}" "${root?}" "${files:?}" "${control:?}"
opt=$root/opt/store-edge-agent
release=  # its directory's name, once there is one
changed=  # not empty: another release is in force than before
broker_changed=  # not empty: the broker must start again

say() { printf '%s: %s\n' "$who" "$*"; }

point() {  # point NAME TARGET: swap a symlink in one step
  ln -sfn "$2" "$opt/.$1.new"
  mv -T "$opt/.$1.new" "$opt/$1"
}

# Whole on disk before anything points to it: a power cut in between must not cost the store its agent.
keep_release() {  # keep_release DIRECTORY: it becomes $release
  sync -f "$1"
  mv -T "$1" "$opt/$release"
}

switch_release() {
  local before old
  before=$(readlink "$opt/current" || true)
  [ "$before" != "$release" ] || return 0
  changed=yes
  [ -z "$before" ] || point previous "$before"
  point current "$release"
  sync -f "$opt"
  for old in "$opt"/*/ "$opt"/.*.partial/; do
    old=$(basename "$old")
    case $old in current | previous | "$release" | "$before") ;; *) rm -rf "${opt:?}/$old" ;; esac
  done
}

listed() {  # listed KIND: lines of FILE PLACE
  local kind file place
  while read -r kind file place; do
    [ "$kind" != "$1" ] || echo "$file ${place:-/usr/lib/systemd/system/$file}"
  done <"$files/placed"
}

units() {  # units KIND: their names
  local unit place
  listed "$1" | while read -r unit place; do
    case $unit in */*) ;; *) echo "$unit" ;; esac  # a drop-in of somebody else's is not ours to start or stop
  done
}

place() {  # place KIND: put what is listed so where it belongs
  local file place mode=644
  [ "$1" != program ] || mode=755
  while read -r file place; do
    place=$root$place
    [ -n "$file" ] || continue  # nothing is listed
    ! cmp -s "$files/$file" "$place" || continue
    case $1 in
    once) [ ! -e "$place" ] || continue; say "new: $place" ;;
    aside)
      broker_changed=yes
      [ ! -e "$place" ] || { mv "$place" "$place.before"; say "replaced: $place (before: $place.before)"; }
      ;;
    esac
    mkdir -p "${place%/*}"
    # Beside it and renamed: a power cut leaves the one or the other. Nobody reads a name that begins so.
    install -m $mode "$files/$file" "${place%/*}/.${place##*/}.new"
    mv -T "${place%/*}/.${place##*/}.new" "$place"
  done <<LINES
$(listed "$1")
LINES
}

start() {
  local unit
  systemctl daemon-reload
  # What it can't find it names; some kernels have it built in.
  systemctl restart systemd-modules-load.service || say "the kernel lacks what jobs' networks, disks or images need"
  # Before the agent starts: it asks once for each connection.
  systemctl restart systemd-sysctl.service || say "net.core.rmem_max stays as it is"
  # Before the launcher starts: it looks for the profile once.
  if [ -e /sys/module/apparmor ] && command -v apparmor_parser >/dev/null; then
    apparmor_parser -r -W /etc/apparmor.d/edge-job || say "AppArmor refused /etc/apparmor.d/edge-job: jobs run without it"
  fi
  $control start edge-broker-reload.path edge-broker-restart.path
  [ -z "$broker_changed" ] || $control restart mosquitto.service ||
    say "the broker does not start: journalctl -u mosquitto"
  $control start edge-launcher.socket
  # Not edge-jobs.service: running jobs are in it.
  if [ -n "$changed" ]; then
    $control try-restart edge-launcher.service || say "the launcher does not start: journalctl -u edge-launcher"
    $control restart edge-agent.service || say "the agent does not start: journalctl -u edge-agent"
    $control try-restart edge-gateway.service || say "the HTTPS door does not start: journalctl -u edge-gateway"
  fi
  [ -e /var/lib/edge-agent/identity/current ] ||
    say "not enrolled yet: edge-agent enrol --central HOST:PORT --token TOKEN && systemctl start edge-agent"
}
