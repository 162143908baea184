/// The architecture's name as the project writes it.
#if arch(arm64)
  public let architecture: StaticString = "arm64"
#else
  public let architecture: StaticString = "riscv64"
#endif
