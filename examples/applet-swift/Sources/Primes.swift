import Applet

/// Prints the number of primes below its argument, and the largest one:
///
///     swiftlet run primes.elf 1000
@main
struct Primes {
  static func main() {
    guard let limit = withArguments({ $0[1].decimal }), limit <= 10_000_000 else {
      panic("usage: primes LIMIT, at most 10000000")
    }
    let primes = sieve(below: Int(limit))
    print { out in
      out.decimal(UInt64(primes.count))
      out.write(" primes below ")
      out.decimal(limit)
      if let largest = primes.last {
        out.write(", the largest is ")
        out.decimal(UInt64(largest))
      }
    }
  }

  /// The sieve of Eratosthenes; arrays are on the applet's heap.
  private static func sieve(below limit: Int) -> [Int] {
    var isComposite = [Bool](repeating: false, count: limit)
    var primes: [Int] = []
    for candidate in 2..<max(limit, 2) where !isComposite[candidate] {
      primes.append(candidate)
      for multiple in stride(from: candidate * candidate, to: limit, by: candidate) { isComposite[multiple] = true }
    }
    return primes
  }
}
