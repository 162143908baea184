import AppletABI

/// The numbers of a context's calls.
///
/// The run loop of applets counts a call where it is distinguished from the others, so that the count of a number costs no more
/// than one of all calls would.
package struct CallCounts {
  private var counts = InlineArray<18, UInt64>(repeating: 0)

  /// The index of calls that are not counted by number: those of programs in system mode, of a handler of the context's user, and
  /// undefined ones.
  private static let other = 17

  /// GoTEE's numbers come first, then Swiftlet's.
  @inline(__always)
  private static func index(_ number: Int32) -> Int {
    Int(number <= APPLET_CALL_RPC_RESPONSE ? number : number - APPLET_CALL_WRITE + APPLET_CALL_RPC_RESPONSE + 1)
  }

  /// Counts a call.
  /// - Parameter number: a constant of the ABI up to APPLET_CALL_LAST.
  @inline(__always)
  mutating func count(_ number: Int32) { counts[Self.index(number)] &+= 1 }

  /// Counts a call without its number.
  @inline(__always)
  mutating func countOther() { counts[Self.other] &+= 1 }

  /// Gives a call that was counted without its number this one.
  mutating func recount(_ number: Int32) {
    counts[Self.other] &-= 1
    count(number)
  }

  /// All calls.
  package var total: UInt64 {
    var total: UInt64 = 0
    for index in 0...Self.other { total &+= counts[index] }
    return total
  }

  /// The ABI's names of the numbers, in lower case.
  static var numbers: [(name: StaticString, number: Int32)] {
    [
      ("exit", APPLET_CALL_EXIT), ("put_character", APPLET_CALL_PUT_CHARACTER), ("nanotime", APPLET_CALL_NANOTIME),
      ("getrandom", APPLET_CALL_GETRANDOM), ("rpc_request", APPLET_CALL_RPC_REQUEST),
      ("rpc_response", APPLET_CALL_RPC_RESPONSE), ("write", APPLET_CALL_WRITE), ("read", APPLET_CALL_READ),
      ("sleep", APPLET_CALL_SLEEP), ("yield", APPLET_CALL_YIELD), ("region", APPLET_CALL_REGION),
      ("arguments", APPLET_CALL_ARGUMENTS), ("counter", APPLET_CALL_COUNTER), ("exit_status", APPLET_CALL_EXIT_STATUS),
      ("monotonic", APPLET_CALL_MONOTONIC),
    ]
  }

  /// The calls that were made, by name; "other" for those without a number.
  package var named: [(name: StaticString, count: UInt64)] {
    let numbered = Self.numbers.map { (name: $0.name, count: counts[Self.index($0.number)]) }
    return (numbered + [(name: "other", count: counts[Self.other])]).filter { $0.count > 0 }
  }
}
