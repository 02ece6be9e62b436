import CRDT

/// Who decides about which entry, and what the others have written of it.
extension GroupDecider {
    /// All logs of which something is known here.
    var knownLogs: [ReplicaID] {
        Set(mine.keys).union(records.keys).union(items.keys.map(\.log)).union(standing.present).union(standing.orphans)
            .sorted()
    }

    /// Whether anybody has settled an entry.
    func isSettled(_ key: EntryKey) -> Bool {
        mine[key.log]?.isSettled(key.sequence) == true || others[key.log]?.isSettled(key.sequence) == true
    }

    /// How often an open entry was tried by anybody; nil if nobody has tried it.
    func attempt(of key: EntryKey) -> UInt32? {
        let own = mine[key.log]?.attempt(of: key.sequence)
        guard let theirs = others[key.log]?.attempt(of: key.sequence) else { return own }
        return max(own ?? 0, theirs)
    }

    /// Who decides about what was never tried in a log; nil for nobody now.
    mutating func base(of log: ReplicaID) -> ReplicaID? {
        if let known = bases[log] { return known }
        let found = findBase(of: log)
        bases[log] = .some(found)
        return found
    }

    private func findBase(of log: ReplicaID) -> ReplicaID? {
        if standing.present.contains(log) { return log }
        guard standing.orphans.contains(log) else { return nil }
        switch options.takeover {
        case .never: return nil
        case .majorityOnly where !standing.hasMajority: return nil
        case .majorityOnly, .afterDead: break
        }
        let name = XXH64.hash(Array(group.utf8).span.bytes)
        return standing.present.max { a, b in
            (Self.weight(name, log, a), a) < (Self.weight(name, log, b), b)
        }
    }

    /// Highest random weight: each member loses or gains only what is its own when another comes or goes.
    private static func weight(_ group: UInt64, _ log: ReplicaID, _ member: ReplicaID) -> UInt64 {
        XXH64.avalanche(group ^ XXH64.avalanche(log.rawValue ^ XXH64.avalanche(member.rawValue)))
    }

    /// Who decides about an entry: who has tried it under the most takeovers and is present, else whoever decides about
    /// the log.
    mutating func owner(of key: EntryKey) -> ReplicaID? {
        var best: (takeovers: UInt32, isWriter: Int, node: ReplicaID)?
        func consider(_ node: ReplicaID, _ attempt: UInt32?) {
            guard let attempt, attempt > 0, standing.present.contains(node) else { return }
            let candidate = (attempt / Self.takeoverStep, node == key.log ? 1 : 0, node)
            if let best, candidate < best { return }
            best = candidate
        }
        for (writer, record) in records[key.log] ?? [:] { consider(writer, record.attempt(of: key.sequence)) }
        consider(standing.me, mine[key.log]?.attempt(of: key.sequence))
        return best?.node ?? base(of: key.log)
    }

    // MARK: - Progress

    /// Notes a try of this node's.
    mutating func note(_ key: EntryKey, _ attempt: UInt32) {
        adopt(key.log)
        mine[key.log, default: Settled()].tried(key.sequence, attempt: attempt)
        dirty.insert(key.log)
    }

    /// What others have settled is settled here, and what they have under way stays open.
    mutating func adopt(_ log: ReplicaID) {
        guard let theirs = others[log], theirs.through > (mine[log]?.through ?? 0) else { return }
        mine[log, default: Settled()].merge(theirs.untried)
    }

    /// Others, or this node in an earlier life, have written of their progress.
    mutating func read(_ written: [ReplicaID: Settled], of log: ReplicaID, into effects: inout [Effect]) {
        var written = written
        var isNews = false
        if let own = written.removeValue(forKey: standing.me) {
            isNews = mine[log] == nil
            mine[log, default: Settled()].merge(own)
        }
        if written != records[log, default: [:]] {
            isNews = true
            records[log] = written
            var joined = Settled()
            for (_, record) in written { joined.merge(record) }
            others[log] = joined
            if mine[log]?.prune(joined) == true || isObsolete(log) { dirty.insert(log) }
        }
        if isNews { reconsider(log, into: &effects) }
    }

    /// Lets go of what is settled elsewhere or another's, and looks for what has become this node's.
    mutating func reconsider(_ log: ReplicaID, into effects: inout [Effect]) {
        for key in items.keys.filter({ $0.log == log }).sorted() where isSettled(key) || owner(of: key) != standing.me {
            revoke(key, into: &effects)
            remove(key)
        }
        var lowest: UInt64?
        for entry in mine[log]?.open ?? [] { consider(entry.sequence) }
        for entry in others[log]?.open ?? [] { consider(entry.sequence) }
        func consider(_ sequence: UInt64) {
            let key = EntryKey(log: log, sequence: sequence)
            guard sequence < lowest ?? .max, items[key] == nil, !isSettled(key), owner(of: key) == standing.me else {
                return
            }
            lowest = sequence
        }
        if base(of: log) == standing.me {
            if isBase.insert(log).inserted {
                lowest = min(lowest ?? .max, max(mine[log]?.through ?? 0, others[log]?.through ?? 0) + 1)
            }
        } else {
            isBase.remove(log)
        }
        if let lowest { effects.append(.look(EntryKey(log: log, sequence: lowest))) }
    }

    /// Whether there is something to write, and its logs in order.
    mutating func takeProgress() -> [(log: ReplicaID, progress: Settled?)] {
        isUrgent = false
        let logs = dirty.sorted()
        dirty.removeAll()
        return logs.map { log in
            if isObsolete(log) { mine[log] = nil }
            return (log, mine[log])
        }
    }

    /// Whether what this node has written of a log is said by others too, and nothing of it is its own any more.
    private mutating func isObsolete(_ log: ReplicaID) -> Bool {
        guard log != standing.me, base(of: log) != standing.me, let own = mine[log],
            !own.open.contains(where: { $0.attempt > 0 }), var theirs = others[log]
        else { return false }
        return !theirs.merge(own.untried)
    }
}
