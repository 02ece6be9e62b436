internal import Gossip
internal import NodeCore

/// Who listens, and what becomes of it.
extension Cluster {
    /// A new subscriber at a running node.
    @discardableResult
    func openSession(at node: Node, filter: String?, interests: [Interest]? = nil) -> SessionID {
        let id = SessionID(UInt64(sessions.count) + 1)
        let session = Session(
            id: id, node: node.index, life: node.life, filter: filter, interests: interests,
            openedAfter: node.sessions.isEmpty ? 0 : node.witness.shown.count)
        session.missesHistory = node.snapshots > 0 || node.missesHistory
        sessions.append(session)
        node.sessions.append(session)
        feed(node, .sessionOpened(id))
        if let filter {
            feed(node, .sessionText(id), Array("{\"type\":\"subscribe\",\"filter\":{\"scope\":\"\(filter)\"}}".utf8))
        }
        if let interests {
            let filters = interests.map(\.json).joined(separator: ",")
            feed(node, .sessionText(id), Array("{\"type\":\"subscribe\",\"filters\":[\(filters)]}".utf8))
        }
        return id
    }

    /// A new subscriber without a cursor, who wants something.
    func openPlainSession(at node: Node) {
        let wish = crowd.wish()
        openSession(at: node, filter: wish.filter, interests: wish.interests)
    }

    func session(_ id: SessionID, at node: Node) -> Session? {
        let place = Int(id.rawValue) - 1
        guard sessions.indices.contains(place), sessions[place].node == node.index, sessions[place].life == node.life
        else {
            fail("a node speaks only to its own subscribers", "node \(node.index) named session \(id.rawValue)")
            return nil
        }
        return sessions[place].isOpen ? sessions[place] : nil
    }

    /// A subscriber has taken all that was sent to it.
    func emptied(_ id: SessionID) {
        let session = sessions[Int(id.rawValue) - 1]
        let node = nodes[session.node]
        guard session.isOpen, node.isRunning, node.life == session.life else { return }
        feed(node, .sessionEmptied(id))
    }

    func wander(_ wanderer: Int) {
        guard crowd.isActive else { return }
        agenda.add(.wanderer(wanderer), at: now + 1_000_000 + UInt64(crowd.roll(8_000_000)))
        if let id = crowd.wanderers[wanderer] {
            let session = sessions[Int(id.rawValue) - 1]
            let node = nodes[session.node]
            if session.isOpen, !node.isPaused {
                session.isOpen = false
                node.sessions.removeAll { $0 === session }
                feed(node, .sessionClosed(id))
            }
            if session.isOpen { return }
        }
        let node = nodes[crowd.roll(nodes.count)]
        let wish = crowd.wish()
        crowd.wanderers[wanderer] = nil
        guard node.isRunning, node.state == .up, !node.isPaused, node.owedBeforeAnew == nil else { return }
        crowd.wanderers[wanderer] = openSession(at: node, filter: wish.filter, interests: wish.interests)
    }

    // MARK: What subscribers are shown

    /// One text message for these subscribers.
    func show(_ bytes: [UInt8], _ range: Range<Int>, mark: UInt64?, to sessions: [Session], of node: Node) {
        guard !sessions.isEmpty else { return }
        guard let message = Message(bytes, range) else {
            return fail("subscribers get JSON", String(decoding: bytes[range].prefix(300), as: UTF8.self))
        }
        guard case .event(let sighting, _) = message else {
            for session in sessions {
                if let client = session.client {
                    offer(message, range.count, mark: mark, to: client)
                } else if case .error(let text) = message {
                    fail("a well-behaved subscriber gets no error", text)
                }
            }
            return
        }
        guard
            let place = ledger.place(of: sighting.key)
                ?? announced(sighting, (try? JSONReader.parse(Array(bytes[range])))?["data"])
        else {
            return fail("nobody is shown what nobody posted", "\(sighting.key.text) at node \(node.index)")
        }
        if let broken = shownTooEarly(place, sighting) { return fail(broken.promise, broken.detail) }
        for session in sessions {
            tally.add(.deliveries)
            if let client = session.client {
                offer(message, range.count, mark: mark, to: client)
                continue
            }
            if session === node.witness {
                if sighting.stamp < session.youngest { tally.add(.lateEntries) }
            }
            if let broken = always.shown(sighting, place: place, to: session, witness: node.witness, ledger) {
                return fail(broken.promise, broken.detail)
            }
        }
    }

    /// What nodes tell of their own accord is entered into the ledger when it is first shown: from then on it is an event
    /// like any other, but that nobody was ever promised it.
    func announced(_ sighting: Sighting, _ event: JSON?) -> Int? {
        guard let event, let topic = event["topic"]?.text,
            Crowd.announcements.contains(topic)
        else { return nil }
        let source = event["source"]?.text ?? ""
        let agent = source.hasPrefix("agent-") ? Int(source.dropFirst("agent-".count)) : nil
        let traits = Traits(topic, "announced", agent ?? .max)
        tally.add(.announcements)
        return ledger.add(Posting(key: sighting.key, scope: topic, parents: [], body: [], traits: traits))
    }
}
