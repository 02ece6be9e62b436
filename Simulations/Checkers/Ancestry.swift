/// Which signals an event without a pattern of its own touches, decided once by the node that took it (DESIGN.md,
/// section 3): those of its nearest ancestors as far as that node knew them; without parents, all of its scope.
///
/// Checked where the answer is certain: an id that two nodes took as new may have been known as either copy.
struct Ancestry {
    private let ledger: Ledger
    private let origins: [UInt64: Session]
    /// The stored events by their place in the ledger.
    private var stored: [Int: JSON] = [:]
    /// Folding a scope anew costs time, so only so many events are checked against the whole of theirs.
    private static let foldsChecked = 8
    /// No more ancestors are asked.
    private static let mostAncestors = 64

    init(_ events: [JSON], ledger: Ledger, origins: [UInt64: Session]) {
        self.ledger = ledger
        self.origins = origins
        for event in events {
            guard let key = event["id"]?.text.flatMap(EventKey.init(text:)) else { continue }
            if let place = ledger.place(of: key) { stored[place] = event }
        }
    }

    /// Throws if an event touches other signals than it should.
    func check(decay: Double) throws(Violation) {
        var folds = 0
        for (place, event) in stored.sorted(by: { $0.key < $1.key }) {
            guard event["type"] == .string("reward") || event["type"] == .string("penalty"),
                event["payload"]?["pattern"] == nil, event["payload"]?["action"] == nil,
                ledger.postings[place].copies == 1, let signals = event["signals"]?.array,
                let replica = event["replica"]?.text.flatMap({ UInt64($0, radix: 16) }), let origin = origins[replica],
                let taken = origin.place[place], !origin.unordered.contains(place)
            else { continue }
            let expected: Set<String>?
            if ledger.postings[place].parents.isEmpty {
                guard folds < Ancestry.foldsChecked else { continue }
                folds += 1
                expected = try patterns(ofScope: ledger.scope(of: place), knownTo: origin, before: taken, event, decay)
            } else {
                expected = patterns(ofAncestors: ledger.postings[place].parents, knownTo: origin, before: taken)
            }
            if let expected, Set(signals.compactMap(\.text)) != expected || signals.count != expected.count {
                throw Violation(
                    "an event without a pattern touches those of its nearest ancestors, or of its scope",
                    "\(ledger.postings[place].key.text) touches \(signals), should touch \(expected.sorted())")
            }
        }
    }

    /// The patterns of the nearest generation that has any; nil where it cannot be told.
    private func patterns(ofAncestors parents: [Int], knownTo origin: Session, before taken: Int) -> Set<String>? {
        var generation = parents
        var seen: Set<Int> = []
        while !generation.isEmpty {
            var found: Set<String> = []
            var next: [Int] = []
            for ancestor in generation where seen.insert(ancestor).inserted {
                guard seen.count <= Ancestry.mostAncestors else { return nil }
                guard let known = origin.place[ancestor], known < taken else { return [] }
                guard ledger.postings[ancestor].copies == 1, let event = stored[ancestor] else { return nil }
                found.formUnion(event["signals"]?.array?.compactMap(\.text) ?? [])
                next += ledger.postings[ancestor].parents
            }
            if !found.isEmpty { return found }
            generation = next
        }
        return []
    }

    /// Every pattern of the scope that the node could read when it took the event; nil where it cannot be told.
    private func patterns(
        ofScope scope: String, knownTo origin: Session, before taken: Int, _ event: JSON, _ decay: Double
    ) throws(Violation) -> Set<String>? {
        var known: [JSON] = []
        for place in origin.shown[..<taken] where ledger.scope(of: place) == scope {
            guard ledger.postings[place].copies == 1, let event = stored[place] else { return nil }
            known.append(event)
        }
        guard let stamp = event["stamp"]?.text, let ms = UInt64(stamp.prefix(12), radix: 16) else { return nil }
        return Set(try Oracle(known).readings(at: ms, decay: decay).keys.map(\.pattern))
    }
}
