import re

import pytest

from converters.formats.shared_file import read_shared
from converters.formats.split_lists import read_ids
from mmrs.errors import UserError


def test_a_list_that_cannot_be_read_ends_the_command(tmp_path):
    command = re.escape(f"download it again, then `mmrs scan dior {tmp_path}`.")
    with pytest.raises(UserError, match=rf"dior: .*absent.txt: cannot be read.*{command}"):
        read_shared("dior", tmp_path, tmp_path / "absent.txt", read_ids)
    (tmp_path / "bad.txt").write_bytes(b"1\n\xff\n")
    with pytest.raises(UserError, match=r"\(line 2\): not UTF-8.*mend it, then `mmrs scan dior .* --set a=b`"):
        read_shared("dior", tmp_path, tmp_path / "bad.txt", read_ids, "mend it", "--set a=b")
