"""Whether the programs that jobs need are installed."""

import shutil

from agent.cli.checks.finding import Box, Finding

NAME = "programs"

# Program -> Debian's package. Of the runtimes one is enough.
_PROGRAMS = {
    "conmon": "conmon", "skopeo": "skopeo", "umoci": "umoci", "nft": "nftables", "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "nsenter": "util-linux", "setpriv": "util-linux",
    "prlimit": "util-linux",
}  # fmt: skip
_RUNTIMES = ("crun", "runc", "runsc")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check(box: Box) -> Finding:
    if not box.config.jobs.enabled:
        return Finding("ok", "jobs are off ([jobs] enabled = false)")
    path = box.environment.get("PATH") or _PATH
    path = f"{path}:{_PATH}"  # a person's PATH may lack sbin
    missing = [program for program in _PROGRAMS if shutil.which(program, path=path) is None]
    runtimes = [program for program in _RUNTIMES if shutil.which(program, path=path)]
    packages = sorted({_PROGRAMS[program] for program in missing} | (set() if runtimes else {"crun"}))
    if packages:
        lacking = [*missing, *([] if runtimes else ["crun or runc"])]
        return Finding("fail", f"not installed: {', '.join(lacking)}", f"apt install {' '.join(packages)}")
    return Finding("ok", f"{', '.join(runtimes)}, {', '.join(_PROGRAMS)}")
