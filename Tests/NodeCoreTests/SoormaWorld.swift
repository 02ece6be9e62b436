import CRDT
@testable import NodeCore

extension NodeWorld {
    /// Asks something of Soorma's registry.
    mutating func ask(_ i: Int, registry request: ServiceRegistryRequest, _ body: String = "") -> Answer {
        ask(i, .soorma(.registry(request)), body)
    }

    /// Asks something of Soorma's tracker.
    mutating func ask(_ i: Int, tracker request: TrackerRequest, of tenancy: Tenancy = .init(), _ body: String = "")
        -> Answer
    {
        ask(i, .soorma(.tracker(request, tenancy)), body)
    }

    /// Writes a document as a service does.
    mutating func write(_ i: Int, _ kind: DocumentKind, _ key: String, _ fields: [(String, String)]) throws {
        let name = kind.name(key)
        try act(i) { core, now, effects in
            let changes: [DocumentMap.Change] = fields.map { .set(field: $0.0, value: Array($0.1.utf8)) }
            if core.documents.exists(name) {
                try core.put(name, changes, now: now, into: &effects)
            } else {
                try core.create(name, changes, now: now, into: &effects)
            }
        }
    }
}
