/// When the entries of one log were written, roughly, long after they are gone: a few marks, thinned as they grow.
struct Timeline: Sendable {
    private static let maximumMarks = 64

    private var marks: [(sequence: UInt64, time: UInt64)] = []
    private var stride: UInt64 = 32

    /// Notes the packed time of an entry, the next of its log.
    mutating func note(_ sequence: UInt64, time: UInt64) {
        guard sequence % stride == 0 else { return }
        marks.append((sequence, time))
        guard marks.count > Self.maximumMarks else { return }
        stride *= 2
        marks.removeAll { [stride] in $0.sequence % stride != 0 }
    }

    /// A packed time that no entry after `sequence` precedes: zero if nothing is known.
    func time(at sequence: UInt64) -> UInt64 { marks.last { $0.sequence <= sequence }?.time ?? 0 }
}
