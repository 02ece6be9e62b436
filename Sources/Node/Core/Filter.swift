import CRDT

/// Which events a subscription wants: by scope pattern, type and agent; what is not given does not restrict.
struct Filter: Hashable, Sendable {
    /// The most entries of `types` or `agents`.
    static let maximumChoices = 64

    /// A scope pattern: segments between dots, `*` for any one segment, `>` at the end for one or more.
    struct ScopePattern: Hashable, Sendable {
        enum Segment: Hashable, Sendable { case text([UInt8]), any, tail }
        let segments: [Segment]

        /// Reads a pattern in canonical JSON text; nil if `>` stands anywhere but at the end or a segment is empty.
        init?(_ pattern: [UInt8]) {
            var segments: [Segment] = []
            for part in pattern.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
                guard !part.isEmpty, segments.last != .tail else { return nil }
                switch part {
                case [UInt8(ascii: "*")]: segments.append(.any)
                case [UInt8(ascii: ">")]: segments.append(.tail)
                default: segments.append(.text(Array(part)))
                }
            }
            self.segments = segments
        }

        func matches(_ scope: RawSpan) -> Bool {
            var at = 0
            for segment in segments {
                guard at <= scope.byteCount else { return false }
                var end = at
                while end < scope.byteCount, scope.unsafeLoad(fromByteOffset: end, as: UInt8.self) != UInt8(ascii: ".")
                {
                    end += 1
                }
                switch segment {
                case .tail: return end > at || scope.byteCount > at
                case .any: break
                case .text(let text): guard scope.extracting(at..<end).isEqual(to: text) else { return false }
                }
                at = end + 1
            }
            return at == scope.byteCount + 1
        }
    }

    var scope: ScopePattern?
    /// Bits by `EventType.rawValue`; nil for all.
    var types: UInt8?
    /// Agent ids as canonical text, sorted.
    var agents: [[UInt8]]?

    /// Every SEMP event.
    static let all = Filter()

    func matches(_ event: EventView, _ json: RawSpan) -> Bool {
        if let types, types & 1 << event.type.rawValue == 0 { return false }
        if let scope, !scope.matches(json.extracting(event.scope)) { return false }
        if let agents {
            let agent = json.extracting(event.agent)
            return agents.contains { agent.isEqual(to: $0) }
        }
        return true
    }
}
