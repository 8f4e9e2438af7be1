"""The page's uploads: where Gradio's files go."""

import pytest

from rffr_jax.web.page import taken_upload
from rffr_jax.web.refused import RefusedError


def test_an_upload_leaves_no_folder_behind(tmp_path):
    sent = tmp_path / "page" / "digest" / "face.png"
    sent.parent.mkdir(parents=True)
    sent.write_bytes(b"first")
    with taken_upload(sent, tmp_path) as file:
        assert file.read_bytes() == b"first"
        assert file.name == "face.png"
        assert not sent.parent.exists()
        with pytest.raises(RefusedError) as refused, taken_upload(sent, tmp_path):
            pass
        assert refused.value.status == 409
        sent.parent.mkdir()
        sent.write_bytes(b"first")  # by somebody else, who waits
        with taken_upload(sent, tmp_path) as other:
            assert other != file
        assert file.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]
    assert not any((tmp_path / "page").iterdir())
