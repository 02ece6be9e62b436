import Gossip
import Testing

@testable import Node

@Suite("What the benchmarks measure with")
struct BenchTests {
    @Test("Small values are exact, percentiles count whole values")
    func smallValues() {
        var histogram = DelayHistogram()
        #expect(histogram.percentile(0.5) == 0 && histogram.mean == 0)
        for value in 1...10 as ClosedRange<UInt64> { histogram.record(value) }
        #expect([0, 0.1, 0.11, 0.5, 0.9, 0.91, 1].map { histogram.percentile($0) } == [1, 1, 2, 5, 9, 10, 10])
        #expect(histogram.count == 10 && histogram.maximum == 10 && histogram.mean == 5.5)
    }

    @Test("Every value falls into a bucket that holds it and is at most a 64th wide; buckets follow each other")
    func buckets() {
        var value: UInt64 = 0
        while value < .max / 3 {
            for near in [value, value + 1] {
                let bucket = DelayHistogram.bucket(of: near)
                #expect(DelayHistogram.largest(in: bucket) >= near)
                #expect(bucket == 0 || DelayHistogram.largest(in: bucket - 1) < near)
                #expect(DelayHistogram.largest(in: bucket) - near <= near / 64)
            }
            value += value / 8 + 1
        }
        #expect(DelayHistogram.largest(in: DelayHistogram.bucket(of: .max)) == .max)
    }

    @Test("Percentiles of many values are at most 1.6 % above the sorted truth")
    func manyValues() {
        var dice = Dice(seed: 3)
        var histogram = DelayHistogram()
        var values: [UInt64] = []
        for _ in 0..<20_000 {
            let value = dice.next() >> (20 + dice.below(40))
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        for share in [0.5, 0.9, 0.99, 0.999, 1] {
            let truth = values[max(0, Int((share * 20_000).rounded(.up)) - 1)]
            #expect(histogram.percentile(share) >= truth)
            #expect(Double(histogram.percentile(share)) <= Double(truth) * 1.016)
        }
    }

    @Test("A number is in order, late or a duplicate, and what never came is counted")
    func sequences() {
        var check = SequenceCheck()
        let rows: [(UInt32, SequenceCheck.Verdict, Int)] = [
            (0, .inOrder, 9), (1, .inOrder, 8), (1, .duplicate, 8), (5, .inOrder, 7), (3, .late, 6), (3, .duplicate, 6),
            (2, .late, 5), (4, .late, 4), (4, .duplicate, 4), (6, .inOrder, 3), (9, .inOrder, 2), (0, .duplicate, 2),
        ]
        for (number, verdict, missing) in rows {
            #expect(check.receive(number) == verdict, "\(number)")
            #expect(check.missing(sent: 10) == missing, "after \(number)")
        }
    }

    @Test("Every order of six arrivals, some of them twice, ends with nothing missing and the duplicates counted")
    func everyOrder() {
        var dice = Dice(seed: 5)
        for _ in 0..<500 {
            var check = SequenceCheck()
            let arrivals = ([0, 1, 2, 3, 4, 5] + [1, 4] as [UInt32]).shuffled(using: &dice)
            let verdicts = arrivals.map { check.receive($0) }
            #expect(verdicts.count { $0 == .duplicate } == 2)
            #expect(check.missing(sent: 6) == 0)
        }
    }

    @Test("A mark is found wherever it stands, by its run only")
    func marks() {
        let mark = Mark(run: 0xdead_beef, publisher: 63, sequence: 1_000_000, nanoseconds: .max - 7)
        for offset in [0, 1, 40, 100] {
            var bytes = [UInt8](repeating: UInt8(ascii: "@"), count: offset + Mark.byteCount + 30)
            mark.write(over: &bytes, at: offset)
            for start in [0, offset, 7, 1_000] {
                var hint = start
                #expect(Mark.find(in: bytes.span.bytes, run: 0xdead_beef, hint: &hint) == mark)
                #expect(hint == offset)
                #expect(Mark.find(in: bytes.span.bytes, run: 1, hint: &hint) == nil)
            }
            bytes[offset + 12] = UInt8(ascii: "g")
            var hint = offset
            #expect(Mark.find(in: bytes.span.bytes, run: 0xdead_beef, hint: &hint) == nil)
        }
        var hint = 0
        #expect(Mark.find(in: [UInt8]().span.bytes, run: 0, hint: &hint) == nil)
    }

    @Test(
        "What the writers of the merge benchmark send is taken in whole, by any number of nodes, in both kinds of frames"
    )
    func mergeTraffic() {
        var options = BenchMergeOptions()
        (options.documents, options.facts) = (40, 300)
        for push in [false, true] {
            options.push = push
            let traffic = MergeWriters.traffic(options)
            #expect(push ? traffic.frames.count > 340 : traffic.frames.count < 40)
            for _ in 0..<2 {
                var reader = MergeReader()
                reader.take(traffic, frames: 0..<traffic.filled)
                #expect(reader.appliedEntries() == 40, "the documents first, so that they are not measured")
                reader.take(traffic, frames: traffic.filled..<traffic.frames.count)
                #expect(reader.appliedEntries() == 340)
            }
        }
    }

    @Test("The merge benchmark's result reads well and is one line of JSON")
    func mergeResult() {
        var options = BenchMergeOptions()
        (options.documents, options.facts) = (10, 2_000)
        var result = MergeResult(options: options, frames: 7, fills: [1_000], merges: [4_000_000, 2_000_000])
        #expect(
            result.output.hasPrefix(
                "merge: 2,000 facts of 3 writers on 10 documents, 7 frames\n  facts/s       500,000  1,000,000\n"))
        #expect(result.output.contains("  best          1000 ns a fact\n"))
        options.json = true
        result = MergeResult(options: options, frames: 7, fills: [1_000], merges: [4_000_000], missing: 3)
        #expect(
            result.output == #"{"bench":"merge","documents":10,"facts":2000,"frames":7,"facts_per_second":[500000],"#
                + #""fills_per_second":[10000000],"missing":3}"# + "\n")
    }
}
