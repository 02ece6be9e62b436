/// How many nodes must have a write before it is acknowledged (DESIGN, section 6).
public enum AckLevel: Equatable, Sendable, CustomStringConvertible {
    /// This node: on its disk, if it has one.
    case local
    /// So many durable nodes, this one included: each has synced the entry and all it depends on.
    case disks(Int)
    /// More than half of the larger of `--cluster-size` and the members that are neither left nor retired, as `disks`.
    case majority
    /// So many nodes, this one included, hold the entry, durable or not.
    case memory(Int)

    /// The most nodes that a level may ask for.
    public static let maximum = 1_024

    /// What `init` reads, for people.
    public static let expected =
        "local, majority, a number of nodes with --data, or mem: and a number of nodes, at most \(maximum)"

    /// Reads `local`, a number from 1 on, `majority` or `mem:` and a number.
    public init?(_ text: String) {
        func number(_ digits: Substring) -> Int? {
            guard digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
            return Int(digits).flatMap { (1...Self.maximum).contains($0) ? $0 : nil }
        }
        switch text {
        case "local": self = .local
        case "majority": self = .majority
        default:
            if text.hasPrefix("mem:"), let count = number(text.dropFirst(4)) {
                self = .memory(count)
            } else if let count = number(text[...]) {
                self = count == 1 ? .local : .disks(count)
            } else {
                return nil
            }
        }
    }

    /// As a client writes it.
    public var description: String {
        switch self {
        case .local: "local"
        case .disks(let count): "\(count)"
        case .majority: "majority"
        case .memory(let count): "mem:\(count)"
        }
    }
}
