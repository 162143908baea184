import Applet

/// Exercises the uses of memory allocation in Embedded Swift: classes, arrays, strings, dictionaries. Then it allocates far more
/// than the size of the heap, a part at a time, which works only if freed memory is merged and reused.
@main
struct Heap {
  static func main() {
    graph()
    dictionary()
    strings()
    churn()
    Swift.print("heap: ", terminator: "")
    Swift.print("all right")
  }

  private final class Node {
    let number: Int
    var next: Node?

    init(number: Int, next: Node?) {
      self.number = number
      self.next = next
    }
  }

  private static func graph() {
    var list: Node?
    for number in 1...1000 {
      list = Node(number: number, next: list)
    }
    var sum = 0
    while let node = list {
      sum += node.number
      list = node.next
    }
    expect(sum == 500_500, "a list of objects")
  }

  private static func dictionary() {
    var squares: [Int: Int] = [:]
    for number in 0..<500 {
      squares[number] = number * number
    }
    for number in stride(from: 0, to: 500, by: 2) {
      squares[number] = nil
    }
    expect(squares.count == 250 && squares[21] == 441 && squares[20] == nil, "a dictionary")
  }

  private static func strings() {
    var text = ""
    for number in 0..<100 {
      text += "\(number),"
    }
    expect(text.utf8.count == 290 && text.hasPrefix("0,1,2,"), "a string")
    expect("e\u{301}" == "\u{e9}", "strings that differ in bytes alone")
  }

  /// 64 times 8 MiB in blocks of increasing size, of which every other is freed late.
  private static func churn() {
    for round in 0..<64 {
      var kept: [[UInt8]] = []
      for index in 0..<32 {
        let block = [UInt8](repeating: UInt8(index), count: 4096 << (index % 7))
        if index % 2 == 0 {
          kept.append(block)
        }
      }
      for (index, block) in kept.enumerated() {
        expect(block.first == UInt8(index * 2) && block.last == UInt8(index * 2), "a block of memory")
      }
      expect(kept.count == 16, "a round")
      if round == 0 {
        aligned()
      }
    }
  }

  private static func aligned() {
    for shift in 4...16 {
      let pointer = UnsafeMutableRawPointer.allocate(byteCount: 100, alignment: 1 << shift)
      expect(UInt(bitPattern: pointer) & (1 << shift - 1) == 0, "an aligned block")
      pointer.initializeMemory(as: UInt8.self, repeating: 0xff, count: 100)
      pointer.deallocate()
    }
  }

  private static func expect(_ condition: Bool, _ what: StaticString) {
    guard condition else {
      print(what)
      panic("that went wrong")
    }
  }
}
