import Testing

@testable import Benchmark

/// Statistics of samples.
struct SamplesTests {
  private let hundred = Samples((1...100).reversed())

  @Test func quantilesAreSamples() {
    #expect(hundred.minimum == 1 && hundred.maximum == 100)
    #expect(hundred.median == 50)
    #expect(hundred.p99 == 99)
    #expect(hundred.quantile(0) == 1)
    #expect(hundred.quantile(250) == 25)
    #expect(hundred.quantile(751) == 76)
    #expect(hundred.quantile(1000) == 100)
    #expect(hundred.quantile(2000) == 100)
  }

  @Test(
    arguments: [([7], 7), ([1, 3], 1), ([1, 2, 9], 2), ([1, 2, 4, 9], 2), ([10, 10, 11, 1000], 10)]
      as [([Int64], Int64)])
  func typicalIsTheMeanOfTheLowerHalf(_ values: [Int64], _ typical: Int64) {
    #expect(Samples(values).typical == typical)
  }

  @Test func spreadIsTheInterquartileRangeByTheMedian() {
    #expect(hundred.spread == 1000)
    #expect(Samples([5]).spread == 0)
    #expect(Samples([0, 0, 1]).spread == 0)
  }

  @Test func intervalsAreDifferencesOfMarks() {
    #expect(Samples(marks: [5, 100, 103, 110], skip: 1).sorted == [3, 7])
    #expect(Samples(marks: [5, 8]).sorted == [3])
    #expect(Samples([]).sorted == [0])
  }

  @Test func ratiosAreOfTypicalSamples() {
    let samples = Samples([100, 200, 300, 400])
    let baseline = Samples([50, 100, 400, 400])
    #expect(Measurement("a", samples, baseline: baseline).ratio == 2000)
    #expect(Measurement("a", samples).ratio == nil)
    #expect(Measurement("a", samples, baseline: Samples([0])).ratio == nil)
  }
}
