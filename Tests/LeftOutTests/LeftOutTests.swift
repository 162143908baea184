import Testing

/// A plain "swift test" only has the unit tests (Package.swift).
@Test(
  .disabled(
    """
    swift test runs the unit tests. Left out: tests on emulated boards, the kernel's failures, the fuzzers' inputs. \
    "make test" runs what is most likely to break, "make check" all.
    """))
func boardsKernelFailuresAndFuzzers() {}
