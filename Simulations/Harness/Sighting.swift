/// What the checkers read of one event that a node shows.
struct Sighting: Equatable, Sendable {
    var key: EventKey
    /// The log that this copy stands in, and where in it.
    var replica: UInt64
    var sequence: UInt64
    /// The packed time of its stamp.
    var stamp: UInt64

    init(key: EventKey, replica: UInt64, sequence: UInt64, stamp: UInt64) {
        self.key = key
        self.replica = replica
        self.sequence = sequence
        self.stamp = stamp
    }

    /// Reads the event at `range`; nil when it is none or one of its fields is missing.
    init?(_ bytes: [UInt8], _ range: Range<Int>) {
        var reader = JSONReader(bytes, range)
        guard let sighting = try? Sighting.read(&reader) else { return nil }
        self = sighting
    }

    static func read(_ reader: inout JSONReader) throws(MalformedJSON) -> Sighting? {
        var key: EventKey?
        var replica: UInt64?
        var sequence: UInt64?
        var stamp: UInt64?
        try reader.members { (name, reader) throws(MalformedJSON) in
            if reader.matches(name, "id") {
                key = EventKey(reader.bytes, try reader.rawText())
            } else if reader.matches(name, "replica") {
                replica = hexadecimal(reader.bytes, try reader.rawText())
            } else if reader.matches(name, "seq") {
                sequence = UInt64(String(decoding: reader.bytes[try reader.rawNumber()], as: UTF8.self))
            } else if reader.matches(name, "stamp") {
                let text = try reader.rawText()
                stamp = text.count == 33 ? hexadecimal(reader.bytes, text.lowerBound..<text.lowerBound + 16) : nil
            } else {
                try reader.skip()
            }
        }
        guard let key, let replica, let sequence, let stamp else { return nil }
        return Sighting(key: key, replica: replica, sequence: sequence, stamp: stamp)
    }
}
