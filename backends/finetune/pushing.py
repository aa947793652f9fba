"""An artefact uploaded to the model hub, only where a step asks for it."""

import os
import re

import msgspec
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from backends.base import Context, StepResult
from backends.finetune import Tuning
from knowledge.errors import UserError

NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check(settings: Tuning) -> None:
    """Look at name and token before anything is trained.

    Raises:
        UserError: the name is none of a repository, there is no token, or the hub is switched off.
    """
    if settings.push is None:
        return
    if NAME.fullmatch(settings.push) is None:
        raise UserError(f"push: {settings.push!r} is no repository; write OWNER/NAME")
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise UserError("push needs the hub, and HF_HUB_OFFLINE is 1; unset it or leave out push")
    if get_token() is None:
        raise UserError("push needs a token that may write: set HF_TOKEN, or leave out push")


def pushed(settings: Tuning, context: Context, found: StepResult) -> StepResult:
    """The result with a note of where the artefact was uploaded, to a private repository.

    A failed upload costs nothing but the note: the artefact lies in the run's folder.
    """
    if settings.push is None or found.artefact is None:
        return found
    folder = context.folder / found.artefact
    context.progress.note(f"uploading {found.artefact}/ to {settings.push}")
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=get_token())
    try:
        hub.create_repo(settings.push, private=True, exist_ok=True)
        done = hub.upload_folder(
            repo_id=settings.push,
            folder_path=folder,
            commit_message=f"{found.name}: {found.method}",
        )
        note = f"uploaded {found.artefact}/ to {settings.push} ({done.oid[:12]}), private if new"
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first = " ".join(str(error).split())[:160]
        note = f"not uploaded to {settings.push}: {first}; try: hf upload {settings.push} {folder}"
        context.progress.note(note)
    return msgspec.structs.replace(found, notes=(*found.notes, note))
