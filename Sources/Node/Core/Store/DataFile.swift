/// One file of a data directory, by what it holds and its number.
///
/// - A **segment** is a piece of the write-ahead log: every start, and every snapshot, begins a new one.
/// - A **snapshot** holds the state that the segments before its number have led to.
public struct DataFile: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// What a file holds.
    public enum Kind: UInt8, Comparable, Sendable, CaseIterable {
        /// Records in the order in which they were written.
        case segment
        /// The whole state at one moment.
        case snapshot

        /// Segments come first.
        public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

        var prefix: String { self == .segment ? "log-" : "state-" }
    }

    /// What it holds.
    public let kind: Kind
    /// Numbers rise; a snapshot has the number of the first segment that is not in it.
    public let number: UInt64

    /// A segment of the write-ahead log.
    public static func segment(_ number: UInt64) -> DataFile { DataFile(kind: .segment, number: number) }
    /// A snapshot of everything before the segment of this number.
    public static func snapshot(_ number: UInt64) -> DataFile { DataFile(kind: .snapshot, number: number) }

    private init(kind: Kind, number: UInt64) {
        self.kind = kind
        self.number = number
    }

    /// The file of this name; nil for a name that no file of a data directory has.
    public init?(name: String) {
        guard let kind = Kind.allCases.first(where: { name.hasPrefix($0.prefix) }) else { return nil }
        let digits = name.dropFirst(kind.prefix.count)
        guard digits.utf8.count == 16, digits.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            let number = UInt64(digits, radix: 16)
        else { return nil }
        self.init(kind: kind, number: number)
    }

    /// Its name: `log-` or `state-` and the number as sixteen hexadecimal digits.
    public var name: String {
        let digits = String(number, radix: 16)
        return kind.prefix + String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    /// Its name.
    public var description: String { name }

    /// By kind, then by number.
    public static func < (a: Self, b: Self) -> Bool { (a.kind, a.number) < (b.kind, b.number) }
}
