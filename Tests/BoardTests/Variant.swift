/// A way to run the same applet with the same result: a board, and options of `swiftlet run`.
struct Variant: Sendable {
  let board: Board
  let options: String

  /// Both architectures; arm64 with each transport.
  static let all = [
    Variant(board: .arm64, options: ""), Variant(board: .arm64, options: "--transport mmio "),
    Variant(board: .riscv64, options: ""),
  ]

  var architecture: String { board.architecture }

  /// An applet by its name, with its arguments.
  func applet(
    _ words: String, input: String? = nil, status: Int32 = 0, output: Expected = "", errors: Expected = ""
  ) -> Case {
    let parts = words.split(separator: " ", maxSplits: 1)
    let run = "run \(options)\(parts[0]).elf" + (parts.count > 1 ? " \(parts[1])" : "")
    let script = (input.map { "printf '\($0)' | " } ?? "") + "swiftlet " + run
    return Case(
      board, run + (input == nil ? "" : " with input"), script: script, status: status, output: output, errors: errors)
  }
}
