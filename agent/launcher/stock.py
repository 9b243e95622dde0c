"""What outlives runs: images and disks. None of it goes while a run has it."""

from agent.launcher import disk, policy
from agent.launcher.book import Book
from agent.launcher.image import Images
from agent.launcher.layout import Places
from agent.launcher.protocol import DiskState, ImageState


class Stock:
    def __init__(self, places: Places, rules: policy.Policy, book: Book, images: Images) -> None:
        self._places = places
        self._rules = rules
        self._book = book
        self._images = images

    def image(self, image: str) -> ImageState:
        """Raises LauncherError(not-allowed) when root's policy has no room for images, and as Images.ask."""
        policy.check_image(self._rules, image)
        return self._images.ask(image)

    def images(self) -> list[ImageState]:
        return self._images.states()

    def remove_image(self, image: str) -> None:
        """Raises LauncherError(not-found, or conflict while a run uses it)."""
        self._book.unless_used(lambda found: found.image == image, f"image {image}")
        self._images.remove(image)

    def disks(self) -> list[DiskState]:
        return disk.states(self._places)

    def remove_disk(self, tenant: str, job: str) -> None:
        """Raises LauncherError(not-found, or conflict while a run uses it)."""
        self._book.unless_used(
            lambda found: found.disk_bytes > 0 and (found.tenant, found.job_name) == (tenant, job),
            f"the disk of {tenant}/{job}",
        )
        disk.remove(self._places, tenant, job)
