"""What Linux tells of a processor, and what is said where it tells nothing."""

from pathlib import Path

from trainables.runtimes.processor import this_processor

INTEL = "model name : Some Xeon\nflags : fpu avx2 avx512f avx512_vnni\n\nprocessor : 1\nmodel name : Some Xeon\n"
ARM = "processor : 0\nFeatures : fp asimd asimddp i8mm\nCPU part : 0xd40\n"


def test_flags_that_choose_integer_kernels_are_read(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(INTEL)
    found = this_processor(file)
    assert (found.name, found.flags, found.has_vnni) == ("Some Xeon", ("avx2", "avx512f", "avx512_vnni"), True)
    file.write_text(INTEL.replace(" avx512_vnni", ""))
    assert not this_processor(file).has_vnni
    file.write_text(ARM)
    assert this_processor(file).flags == ("asimddp", "i8mm")


def test_another_system_has_no_flags(tmp_path: Path) -> None:
    found = this_processor(tmp_path / "missing")
    assert (found.flags, found.has_vnni) == ((), False)
    assert found.name
