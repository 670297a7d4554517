"""Our hugetlbfs mounts, as they stand among the others."""

from pathlib import Path

from runners.host.hugetlbfs import our_mounts


def test_only_our_mounts_are_found():
    mounts = (
        "hugetlbfs /dev/hugepages hugetlbfs rw 0 0\n"
        "pausebench-12-345-effffffc-ab_1 /tmp/a\\040b/hugetlbfs hugetlbfs rw,pagesize=2M 0 0\n"
        "pausebench-1-2-effffffc-x /tmp/d tmpfs rw 0 0\n"
    )
    assert our_mounts(mounts) == [("pausebench-12-345-effffffc-ab_1", Path("/tmp/a b/hugetlbfs"))]
