import Applet

enum Problem: Error { case bad(Int) }

protocol Shape: AnyObject { var area: Double { get } }

final class Square: Shape {
  let side: Double
  init(_ side: Double) { self.side = side }
  var area: Double { side * side }
}

final class Circle: Shape {
  let radius: Double
  init(_ radius: Double) { self.radius = radius }
  var area: Double { 3 * radius * radius }
}

/// What the standard library needs of the SDK: heap, output, input, parsing and formatting of numbers, the compiler's runtime.
@main
struct Main {
  static func main() {
    var counts: [String: Int] = [:]
    while let line = readLine() {
      for word in line.split(separator: " ") { counts[String(word), default: 0] += 1 }
    }
    print("words", counts.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ","))
    print("unicode", "Grüße, 世界 é".count, "straße".uppercased())
    numbers()
    let shapes: [any Shape] = [Square(2), Circle(1)]
    print("area \(shapes.reduce(0) { $0 + $1.area })")
    do throws(Problem) { try fail(3) } catch { if case .bad(let number) = error { print("error \(number)") } }
    var generator = SystemRandomNumberGenerator()
    print("random \((1...6).contains(Int.random(in: 1...6, using: &generator)))")
    end()
  }

  static func numbers() {
    for text in ["2.5", "-0.1", "1e-320", "0x1.8p3", "1.7976931348623157e308", "inf", "abc", "0.1e", "1e400"] {
      print("\(text): \(Double(text).map { "\($0)" } ?? "nil") \(Float(text).map { "\($0)" } ?? "nil")")
    }
    let value = Double(withArguments { $0.count }) * 2.75
    print("\(value.squareRoot()) \(value.rounded()) \(value.rounded(.toNearestOrEven)) \(value.rounded(.down))")
    print("\(value.truncatingRemainder(dividingBy: 2)) \(value.remainder(dividingBy: 2)) \(Float(value).squareRoot())")
    let wide = Int128(1) << 100 + Int128(value)
    print("\(wide) \(wide / 7) \(wide % 1_000_000_007) \(Double(wide)) \(UInt128.max.leadingZeroBitCount)")
  }

  static func fail(_ number: Int) throws(Problem) { if number == 3 { throw .bad(number) } }

  static func print(_ a: String, _ b: String) { Swift.print("\(a) \(b)") }
  static func print(_ a: String, _ b: Int, _ c: String) { Swift.print("\(a) \(b) \(c)") }
  static func print(_ a: String) { Swift.print(a) }

  static func end() {
    let arguments = withArguments { arguments in (1..<arguments.count).compactMap { arguments.string(at: $0) } }
    switch arguments.first {
    case "fatal": fatalError("as requested")
    case "index": print(arguments[arguments.count + 1])
    case "overflow": print("\(UInt8(truncatingIfNeeded: 253 + arguments.count) + UInt8(arguments.count))")
    case "exit": Calls.exit(7)
    default: break
    }
  }
}
