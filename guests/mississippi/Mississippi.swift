import Applet

/// GoTEE's example of a trusted applet: random bytes, an RPC, five seconds, and then a read of the monitor's memory, which ends
/// it. The number of seconds is its argument.
@main
struct Mississippi {
  static func main() {
    print {
      $0.write("Swift/")
      $0.write(architecture)
      $0.write(" applet")
    }
    obtainRandomBytes()
    requestEcho()

    let seconds = withArguments { $0[1].decimal }
    count(to: Int64(clamping: seconds ?? 5))
    readMonitor()
  }

  private static func obtainRandomBytes() {
    var random = InlineArray<16, UInt8>(repeating: 0)
    var bytes = random.mutableSpan
    bytes.withUnsafeMutableBytes { Calls.random(into: $0) }
    print {
      $0.write("applet obtained 16 random bytes from monitor: ")
      $0.hexadecimal(random.span)
    }
  }

  private static func requestEcho() {
    print("applet requests echo via RPC: hello")
    let isAnswered = RPC.call(#"{"method":"RPC.Echo","params":["hello"],"id":0}\#n"#) { response in
      guard let result = response.between(#""result":""#, "\"") else { panic("the response has no result") }
      print {
        $0.write("applet received echo via RPC: ")
        $0.write(result)
      }
    }
    if !isAnswered { panic("no response") }
  }

  private static func count(to seconds: Int64) {
    print {
      $0.write("applet will count ")
      $0.decimal(seconds)
      $0.write(" seconds")
    }
    let start = Calls.nanotime()
    for second in 1...max(seconds, 1) where second <= seconds {
      while Calls.nanotime() - start < second * 1_000_000_000 {
        try? Calls.yield()
      }
      print {
        $0.write("applet says ")
        $0.decimal(second)
        $0.write(" mississippi")
      }
    }
  }

  private static func readMonitor() {
    guard let end = Region.first(.stack)?.end else { panic("no stack") }
    print {
      $0.write("applet is about to read monitor memory at 0x")
      $0.hexadecimal(end)
    }
    let word = UnsafePointer<UInt64>(bitPattern: UInt(end))?.pointee ?? 0
    print {
      $0.write("applet has read monitor memory: 0x")
      $0.hexadecimal(word)
    }
    panic("the read was allowed")
  }
}
