import CApplet

/// An errno value that a call from 0x100 on has returned.
public struct CallError: Error, Equatable {
  public let errno: Int64

  public init(errno: Int64) {
    self.errno = errno
  }
}

/// The monitor's calls, one function each; applet_abi.h defines them. An address outside the applet's own memory ends the
/// applet, so these functions take buffers.
public enum Calls {
  /// Exits, after what `print` has buffered is written.
  public static func exit(_ status: Int32) -> Never {
    CApplet.exit(status)
  }

  public static func putCharacter(_ character: UInt8) {
    applet_put_character(CChar(bitPattern: character))
  }

  /// Nanoseconds of the host's monotonic clock; without a call if the applet may read the counter.
  public static func nanotime() -> Int64 {
    CApplet.nanotime()
  }

  /// Nanoseconds since 1970, UTC.
  public static func timeOfDay() -> Int64 { applet_nanotime() }

  public static func random(into bytes: UnsafeMutableRawBufferPointer) {
    applet_getrandom(bytes.baseAddress, bytes.count)
  }

  public static func sendRPC(_ request: UnsafeRawBufferPointer) {
    applet_rpc_request(request.baseAddress, request.count)
  }

  /// The number of response bytes placed in the buffer, 0 if no response is pending.
  public static func receiveRPC(into bytes: UnsafeMutableRawBufferPointer) -> Int {
    Int(applet_rpc_response(bytes.baseAddress, bytes.count))
  }

  public static func write(_ bytes: UnsafeRawBufferPointer) throws(CallError) {
    _ = try checked(applet_write(bytes.baseAddress, bytes.count))
  }

  /// The number of bytes read, 0 at the end of standard input.
  public static func read(into bytes: UnsafeMutableRawBufferPointer) throws(CallError) -> Int {
    Int(try checked(applet_read(bytes.baseAddress, bytes.count)))
  }

  public static func sleep(nanoseconds: UInt64) throws(CallError) {
    _ = try checked(applet_sleep(nanoseconds))
  }

  /// Lets other contexts run.
  public static func yield() throws(CallError) {
    _ = try checked(applet_yield())
  }

  /// A region of the applet's memory; errno is ENOENT past the last.
  public static func region(_ index: UInt64) throws(CallError) -> Region {
    var region = applet_region()
    _ = try checked(applet_region(index, &region))
    return Region(region)
  }

  /// The size in bytes of all arguments; as many bytes as fit are copied.
  public static func arguments(into bytes: UnsafeMutableRawBufferPointer) throws(CallError) -> Int {
    Int(try checked(applet_arguments(bytes.assumingMemoryBound(to: CChar.self).baseAddress, bytes.count)))
  }

  private static func checked(_ result: Int64) throws(CallError) -> Int64 {
    guard result >= 0 else { throw CallError(errno: -result) }
    return result
  }
}
