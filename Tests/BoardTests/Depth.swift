import Foundation
import Testing

/// The extent of the tests: SWIFTLET_TESTS, which tools/test sets.
enum Depth {
  static let isCheck = ProcessInfo.processInfo.environment["SWIFTLET_TESTS"] == "check"
}

extension Trait where Self == ConditionTrait {
  /// Tests that rarely find the cause of a failure: only "make check" runs them.
  static var onlyInCheck: Self {
    .enabled(if: Depth.isCheck, "make check runs it")
  }
}
