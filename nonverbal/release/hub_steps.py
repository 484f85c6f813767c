"""The steps of a push (see ``nonverbal.release.hub``). Each step checks first whether it is done."""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonverbal.errors import UserError
from nonverbal.release.findings import Finding, wrong
from nonverbal.release.hub_calls import WAITS, Calls, fetch
from nonverbal.release.hub_contents import KEPT, differences, identities_of, key_of, same
from nonverbal.text import size

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TITLE = "Release {} by nonverbal"
TITLES = re.compile(r"Release [0-9a-f]{12} by nonverbal")
MARK = "passport.json"
"""The file by which a release of this toolkit is recognised in a repository."""

MET = KEPT | {"README.md", MARK}
"""Files that may be in a repository without a release: those that the Hub's page creates, and the passport. The card
replaces the README; the others stay."""

LISTED = 10_000
"""Largest number of files or pull requests of a repository that are read: a listing may be endless."""

ASKING = "checking the token"

CONFLICT = 409
"""HTTP status if the name of a new repository is taken."""

Verify = Callable[[Path], Sequence[Finding]]


def user_of(api: "HfApi", calls: Calls) -> str:
    """Return the user of a token with write access.

    Raises:
        UserError: the token can only read.
    """
    who = api.whoami()
    if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise calls.error(
            f"the token of {who['name']} can only read; create one with write access at "
            "https://huggingface.co/settings/tokens, and log in with it (`hf auth login`) or set HF_TOKEN"
        )
    return str(who["name"])


class Push:
    """A push. Each step checks first whether it is done."""

    def __init__(self, api: "HfApi", calls: Calls, folder: Path, verify: Verify):
        self.api = api
        self.calls = calls
        self.repo = calls.repo
        self.folder = folder
        self.verify = verify
        self.contents = identities_of(folder, calls.token)
        self.title = TITLE.format(key_of(self.contents))

    def run(self, private: bool, tag: str | None) -> str:
        """Do every step that is not done yet, and return the address of the release."""
        user = self.calls.call(ASKING, lambda: user_of(self.api, self.calls))
        self.calls.call("looking for the repository", lambda: self._meet(private))
        self.calls.call("looking at its tags", lambda: self._check_tag(tag))
        if self._is_released():
            self.calls.say("main already has these files")
        else:
            number = self.calls.call("uploading", lambda: self._upload(user))
            self._verify(number)
            self.calls.call("merging", lambda: self._merge(number))
            self.calls.say(f"pull request {number} is merged: main has the release")
        tag = self.calls.call("tagging", lambda: self._tag(tag))
        if not private:
            self.calls.call("making it public", self._publish)
        return f"{self.api.endpoint}/{self.repo}/tree/{tag}"

    def _info(self) -> Any:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.repo_info(self.repo)
        except RepositoryNotFoundError:
            return None

    def _meet(self, private: bool) -> None:
        """Create the repository, or check that the contents of the existing one may be replaced."""
        info = self._info()
        if info is None:
            self._make()
            return
        if info.id != self.repo:
            raise self.calls.error(f"the repository is called {info.id} on the Hub; give --repo {info.id}")
        if private and not info.private:
            raise self.calls.error(
                "the repository is public, but a release without --public must be private; give --public, or another "
                "--repo"
            )
        files = {file.path for file in self._files("main")}
        if MARK not in files and files - MET:
            raise self.calls.error(
                f"the repository has files but no release by nonverbal: {', '.join(sorted(files - MET)[:5])}; choose "
                "another --repo, or empty this one"
            )

    def _make(self) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self.api.create_repo(self.repo, private=True, exist_ok=False)
        except HfHubHTTPError as error:
            taken = error.response is not None and error.response.status_code == CONFLICT
            if not taken or self._info() is not None:
                raise
            raise self.calls.error(
                "the name is taken by a repository that this token cannot see; choose another --repo, or give the "
                "token access to it"
            ) from None
        self.calls.say("created, private")

    def _files(self, revision: str) -> list[Any]:
        listed = islice(self.api.list_repo_tree(self.repo, recursive=True, revision=revision), LISTED)
        return [file for file in listed if hasattr(file, "blob_id")]

    def _holds(self, revision: str) -> bool:
        return same(self.contents, self._files(revision))

    def _is_released(self) -> bool:
        return self.calls.call("looking at main", lambda: self._holds("main"))

    def _head(self, revision: str = "main") -> str:
        return str(self.api.repo_info(self.repo, revision=revision).sha)

    def _upload(self, user: str) -> int:
        """Return the number of the pull request with the folder, from an earlier push or a new one."""
        main = self._head()
        for request in list(islice(self.api.get_repo_discussions(self.repo), LISTED)):
            if request.is_pull_request and request.status in ("open", "draft") and request.author == user:
                if request.title == self.title and self._is_ours(request, main):
                    self.calls.say(f"pull request {request.num} already has these files")
                    return int(request.num)
                if TITLES.fullmatch(request.title):
                    self.api.change_discussion_status(
                        self.repo, request.num, "closed", comment="Replaced by another release."
                    )
        total = size(sum(identity.size for identity in self.contents.values()))
        self.calls.say(f"uploading {len(self.contents)} files ({total}) as a pull request")
        return self._commit(main)

    def _is_ours(self, request: Any, main: str) -> bool:
        """Whether merging a pull request would leave exactly the folder in main."""
        revision = f"refs/pr/{request.num}"
        commits = self.api.list_repo_commits(self.repo, revision=revision)
        if main not in [commit.commit_id for commit in islice(commits, 2)][1:] or not self._holds(revision):
            return False
        if request.status == "draft":
            self.api.change_discussion_status(self.repo, request.num, "open")
        return True

    def _commit(self, main: str) -> int:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        there = {file.path for file in self._files(main)}
        gone = [CommitOperationDelete(path) for path in sorted(there - self.contents.keys() - KEPT)]
        new = [CommitOperationAdd(name, str(self.folder / name)) for name in self.contents]
        try:
            made = self.api.create_commit(
                self.repo, [*new, *gone], commit_message=self.title, create_pr=True, parent_commit=main
            )
        except ValueError as error:
            raise self._not_taken(error) or error from None
        assert made.pr_num is not None, "a commit without a change makes no pull request, but main was found to differ"
        return int(made.pr_num)

    def _not_taken(self, error: ValueError) -> UserError | None:
        """Return the error for a file that the Hub does not accept; None if the client's error has another reason."""
        text = str(error)
        if "Invalid metadata in README.md" in text:
            said = text.partition("README.md.")[2].strip()
            return self.calls.error(
                f"the Hub cannot read README.md: {said}; correct it, and run the same command again"
            )
        if not (match := re.search(r"Encountered error for file with OID (\w+): `?(.*)", text)):
            return None
        names = [name for name, identity in self.contents.items() if identity.sha256 == match[1]]
        return self.calls.error(
            f"the Hub does not accept {', '.join(names)}: {match[2]}; release a smaller model, or ask for a higher "
            "limit (https://huggingface.co/docs/hub/storage-limits). main is unchanged"
        )

    def _verify(self, number: int) -> None:
        """Download the pull request into a fresh folder, and verify it."""
        with tempfile.TemporaryDirectory(prefix="nonverbal-") as folder:
            fresh = Path(folder) / "model"
            fetch(self.api, self.calls, f"refs/pr/{number}", fresh)
            faults = self._faults(fresh)
        if faults:
            raise self.calls.error(
                f"the download does not pass verification: {faults}. Pull request {number} stays open and main is "
                "unchanged; correct the release and run the same command again"
            )
        self.calls.say(f"pull request {number}, downloaded into a fresh folder, passes all checks")

    def _faults(self, fresh: Path) -> str:
        if other := differences(self.contents, identities_of(fresh, self.calls.token)):
            return other
        return "; ".join(
            f"{finding.check}: {finding.file}{' ' * bool(finding.file)}{finding.value}, expected {finding.expected}: "
            f"{finding.remedy}"
            for finding in wrong(self.verify(fresh))
        )

    def _merge(self, number: int) -> None:
        if self._holds("main"):
            return
        self.api.merge_pull_request(self.repo, number)
        for wait in (0.0, *WAITS):
            time.sleep(wait)
            if self._holds("main"):
                return
        raise self.calls.error(
            "main does not have the release after the merge: somebody else changed it; check the repository, and run "
            "the same command again"
        )

    def _tags(self) -> dict[str, str]:
        return {tag.name: tag.target_commit for tag in self.api.list_repo_refs(self.repo).tags}

    def _check_tag(self, tag: str | None) -> None:
        """Refuse a tag that belongs to another release, before anything is uploaded."""
        if tag in (tags := self._tags()) and not (tags[str(tag)] == self._head() and self._holds("main")):
            raise self.calls.error(f"the tag {tag} belongs to another release; give another --tag")

    def _tag(self, tag: str | None) -> str:
        """Tag main, and return the tag: an existing one, or a new one."""
        main, tags = self._head(), self._tags()
        here = [name for name, commit in tags.items() if commit == main]
        if tag in here or (tag is None and here):
            return tag or here[0]
        tag = tag or next(name for count in range(1, len(tags) + 2) if (name := f"v{count}") not in tags)
        self.api.create_tag(self.repo, tag=tag, revision=main)
        self.calls.say(f"tagged {tag}")
        return tag

    def _publish(self) -> None:
        if self.api.repo_info(self.repo).private:
            self.api.update_repo_settings(self.repo, private=False)
            self.calls.say("made public")
