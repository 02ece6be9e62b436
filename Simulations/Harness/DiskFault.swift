/// What can happen to one machine's disk. Whatever takes data away takes it while the machine is down: it starts again
/// with what is left, and what only that disk had is gone.
enum DiskFault: Equatable, Sendable {
    /// Every sync takes 50 to 500 ms for so long.
    case slow(ms: UInt64)
    /// No sync ends for so long.
    case stuck(ms: UInt64)
    /// Only so many bytes more find room, for so long.
    case full(leftBytes: UInt64, ms: UInt64)
    /// The next sync fails: the node dies of it, and starts again after so long.
    case failure(downMs: UInt64)
    /// The machine is killed, so many bits flip in its files, and it starts again after so long.
    case rot(bits: UInt64, downMs: UInt64)
    /// The machine is killed, one of its files is lost, and it starts again after so long.
    case lostFile(downMs: UInt64)
    /// The machine is killed and starts again after so long, with an empty disk.
    case wipe(downMs: UInt64)
    /// The disk is copied. So long after, the machine is killed and starts again, after so long, with the copy: `isTold`
    /// that it is one (a restored backup), or not (a machine that was set back).
    case stale(afterMs: UInt64, downMs: UInt64, isTold: Bool)
}

extension DiskFault {
    /// Its name and its numbers, as text; the machine goes between them.
    var words: (name: String, numbers: [UInt64]) {
        switch self {
        case .slow(let ms): ("slowdisk", [ms])
        case .stuck(let ms): ("stuckdisk", [ms])
        case .full(let leftBytes, let ms): ("fulldisk", [leftBytes, ms])
        case .failure(let downMs): ("baddisk", [downMs])
        case .rot(let bits, let downMs): ("rot", [bits, downMs])
        case .lostFile(let downMs): ("lostfile", [downMs])
        case .wipe(let downMs): ("wipe", [downMs])
        case .stale(let afterMs, let downMs, false): ("stale", [afterMs, downMs])
        case .stale(let afterMs, let downMs, true): ("restore", [afterMs, downMs])
        }
    }

    /// Reads a name and its numbers back; nil for anything else.
    init?(_ name: String, _ numbers: [UInt64]) {
        switch (name, numbers.count) {
        case ("slowdisk", 1): self = .slow(ms: numbers[0])
        case ("stuckdisk", 1): self = .stuck(ms: numbers[0])
        case ("fulldisk", 2): self = .full(leftBytes: numbers[0], ms: numbers[1])
        case ("baddisk", 1): self = .failure(downMs: numbers[0])
        case ("rot", 2) where 1...10_000 ~= numbers[0]: self = .rot(bits: numbers[0], downMs: numbers[1])
        case ("lostfile", 1): self = .lostFile(downMs: numbers[0])
        case ("wipe", 1): self = .wipe(downMs: numbers[0])
        case ("stale", 2): self = .stale(afterMs: numbers[0], downMs: numbers[1], isTold: false)
        case ("restore", 2): self = .stale(afterMs: numbers[0], downMs: numbers[1], isTold: true)
        default: return nil
        }
    }

    /// The same for half as long; nil for what lasts hardly any time.
    var shorter: DiskFault? {
        func half(_ ms: UInt64, _ make: (UInt64) -> DiskFault) -> DiskFault? { ms >= 200 ? make(ms / 2) : nil }
        switch self {
        case .slow(let ms): return half(ms) { .slow(ms: $0) }
        case .stuck(let ms): return half(ms) { .stuck(ms: $0) }
        case .full(let leftBytes, let ms): return half(ms) { .full(leftBytes: leftBytes, ms: $0) }
        case .failure(let downMs): return half(downMs) { .failure(downMs: $0) }
        case .rot(let bits, let downMs): return half(downMs) { .rot(bits: bits, downMs: $0) }
        case .lostFile(let downMs): return half(downMs) { .lostFile(downMs: $0) }
        case .wipe(let downMs): return half(downMs) { .wipe(downMs: $0) }
        case .stale(let afterMs, let downMs, let isTold):
            return half(afterMs) { .stale(afterMs: $0, downMs: downMs, isTold: isTold) }
                ?? half(downMs) { .stale(afterMs: afterMs, downMs: $0, isTold: isTold) }
        }
    }

    /// How long it shows, in milliseconds; 0 for what only strikes.
    var lastsMs: UInt64 {
        switch self {
        case .slow(let ms), .stuck(let ms), .full(_, let ms): ms
        case .stale(let afterMs, _, _): afterMs
        case .failure, .rot, .lostFile, .wipe: 0
        }
    }

    /// One sentence for people.
    func story(_ node: Int) -> String {
        func seconds(_ ms: UInt64) -> String { "\(Double(ms) / 1_000) s" }
        switch self {
        case .slow(let ms): return "the disk of n\(node) is slow for \(seconds(ms))"
        case .stuck(let ms): return "the disk of n\(node) is stuck for \(seconds(ms))"
        case .full(let leftBytes, let ms):
            return "the disk of n\(node) is full but for \(leftBytes) bytes for \(seconds(ms))"
        case .failure(let downMs):
            return "the disk of n\(node) fails once; the node starts again after \(seconds(downMs))"
        case .rot(let bits, let downMs):
            return "n\(node) is killed, \(bits) of its bits flip, and it starts again after \(seconds(downMs))"
        case .lostFile(let downMs):
            return "n\(node) is killed, loses one of its files, and starts again after \(seconds(downMs))"
        case .wipe(let downMs):
            return "n\(node) is killed, and starts again with an empty disk after \(seconds(downMs))"
        case .stale(let afterMs, let downMs, let isTold):
            return "the disk of n\(node) is copied, and \(seconds(afterMs)) later n\(node) is killed and, after "
                + "\(seconds(downMs)), \(isTold ? "restored from" : "set back to") the copy"
        }
    }
}
