import CRDT

/// The topics of Soorma's event service: these and no others. On the bus they are topics like any other.
enum SoormaTopic: String, CaseIterable, Sendable {
    case businessFacts = "business-facts"
    case actionRequests = "action-requests"
    case actionResults = "action-results"
    case billingEvents = "billing-events"
    case notificationEvents = "notification-events"
    case systemEvents = "system-events"
    case planEvents = "plan-events"
    case taskEvents = "task-events"

    /// All of them, for messages.
    static let all = allCases.map(\.rawValue).joined(separator: ", ")

    /// Those that patterns fit, each once. What fits none is no mistake: SDKs ask for topics that there never were.
    static func matching(_ patterns: [String]) -> [SoormaTopic] {
        let patterns = patterns.compactMap { AddressPattern(Array($0.utf8)) }
        return allCases.filter { topic in
            patterns.contains { $0.matches(Array(topic.rawValue.utf8).span.bytes) }
        }
    }

    /// The topic of this canonical text. Asked of every event, so nothing is made for it.
    init?(_ text: RawSpan) {
        guard let at = Self.texts.firstIndex(where: { text.isEqual(to: $0) }) else { return nil }
        self = Self.allCases[at]
    }

    private static let texts = allCases.map { Array($0.rawValue.utf8) }
}
