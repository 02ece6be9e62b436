import CRDT
import Gossip

/// What becomes of what was handed out.
extension GroupDecider {
    /// A consumer no longer has an item.
    mutating func release(_ key: EntryKey) {
        guard case .assigned(let seat)? = items[key]?.state, let at = index(of: seat) else { return }
        consumers[at].inFlight -= 1
        consumers[at].credit = min(consumers[at].limit, consumers[at].credit + 1)
    }

    mutating func bounce(_ key: EntryKey, _ attempt: UInt32, _ seat: Seat, isGone: Bool) {
        guard let item = items[key], item.attempt == attempt, item.state == .assigned(seat) else { return }
        counters.bounced += 1
        release(key)
        if let at = index(of: seat) { consumers[at].credit = 0 }
        // It was not handed out, so this was no try.
        items[key]?.attempt = attempt - 1
        items[key]?.state = .waiting
        retry(key)
    }

    mutating func settle(_ key: EntryKey, by node: ReplicaID, into effects: inout [Effect]) {
        guard let item = items[key] else {
            // Should this node take over one day, it need not be tried again.
            if !isSettled(key), acked.insert(key).inserted {
                ackedOrder.append(key)
                while ackedOrder.count > Self.maximumAcked {
                    acked.remove(ackedOrder[ackedOrder.start])
                    pop(&ackedOrder)
                }
            }
            return
        }
        counters.acked += 1
        if item.wasTried {
            if item.isAssigned(at: node) { release(key) } else { revoke(key, into: &effects) }
            remove(key)
            if mine[key.log]?.settle(key.sequence) == true { dirty.insert(key.log) }
        } else {
            // What stands before it in its log was not handed out: it is passed over when its turn comes.
            acked.insert(key)
            ackedOrder.append(key)
        }
    }

    /// Nobody will be given this any more.
    mutating func finish(_ key: EntryKey, into effects: inout [Effect]) {
        guard let item = items[key] else {
            if mine[key.log]?.settle(key.sequence) == true { dirty.insert(key.log) }
            return
        }
        revoke(key, into: &effects)
        remove(key)
        if item.wasTried {
            mine[key.log]?.settle(key.sequence)
        } else {
            adopt(key.log)
            mine[key.log, default: Settled()].pass(key.sequence)
        }
        dirty.insert(key.log)
        acked.remove(key)
    }

    /// Takes an item from the consumer that has it, and tells its node.
    mutating func revoke(_ key: EntryKey, into effects: inout [Effect]) {
        guard let item = items[key], case .assigned(let seat) = item.state else { return }
        release(key)
        effects.append(.tell(seat.node, .revoke(key, attempt: item.attempt)))
    }

    mutating func remove(_ key: EntryKey) {
        guard let item = items.removeValue(forKey: key) else { return }
        if !item.wasTried { freshCount -= 1 }
    }

    mutating func takeBack(
        _ key: EntryKey, from node: ReplicaID, delayMs: UInt64, now: Instant, into effects: inout [Effect]
    ) {
        guard let item = items[key] else { return }
        switch item.state {
        case .waiting, .delayed: return
        case .assigned:
            if item.isAssigned(at: node) { release(key) } else { revoke(key, into: &effects) }
            if item.attempt % Self.takeoverStep >= options.maxAttempts {
                items[key]?.state = .exhausted
                return effects.append(.exhausted(key, position: item.position, attempt: item.attempt))
            }
        case .exhausted:
            guard delayMs > 0 else { return }
        }
        guard delayMs > 0 else {
            items[key]?.state = .waiting
            retry(key)
            return
        }
        let due = now.advanced(milliseconds: delayMs)
        items[key]?.state = item.state == .exhausted ? .exhausted : .delayed
        let at = delayed.firstIndex { due < $0.due } ?? delayed.count
        delayed.insert((due, key), at: at)
    }

    mutating func expire(now: Instant, into effects: inout [Effect]) {
        while deadlines.count > 0, deadlines[deadlines.start].due <= now {
            let deadline = deadlines[deadlines.start]
            deadlines.drop(before: deadlines.start + 1)
            guard let item = items[deadline.key], item.due == deadline.due, case .assigned(let seat) = item.state
            else { continue }
            counters.missed += 1
            // Its node may not have noticed.
            effects.append(.tell(seat.node, .revoke(deadline.key, attempt: item.attempt)))
            takeBack(deadline.key, from: seat.node, delayMs: 0, now: now, into: &effects)
        }
        while let first = delayed.first, first.due <= now {
            delayed.removeFirst()
            guard let item = items[first.key] else { continue }
            switch item.state {
            case .delayed:
                items[first.key]?.state = .waiting
                retry(first.key)
            case .exhausted: effects.append(.exhausted(first.key, position: item.position, attempt: item.attempt))
            case .waiting, .assigned: break
            }
        }
    }

    mutating func drop(_ log: ReplicaID, before: UInt64, into effects: inout [Effect]) {
        for key in items.keys.filter({ $0.log == log && $0.sequence < before }).sorted() { finish(key, into: &effects) }
        for entry in mine[log]?.open ?? [] where entry.sequence < before {
            mine[log]?.settle(entry.sequence)
            dirty.insert(log)
        }
    }
}
