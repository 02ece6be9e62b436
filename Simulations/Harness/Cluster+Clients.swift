internal import CRDT
internal import Gossip
internal import NodeCore

/// Clients with cursors: they come, are cut off, and go on elsewhere from where they were.
extension Cluster {
    func startClients() {
        while crowd.clients.count < options.clients { crowd.clients.append(crowd.newClient()) }
        for client in crowd.clients {
            client.isHasty = false
            agenda.add(.client(client.number), at: now + 1_000 + UInt64(client.roll(1_000_000)))
        }
    }

    /// A client moves on to another node, or stays.
    func hop(_ number: Int) {
        guard crowd.isActive else { return }
        let client = crowd.clients[number]
        agenda.add(.client(number), at: now + 300_000 + UInt64(client.roll(7_000_000)))
        if client.session != nil, client.roll(3) > 0 { drop(client) }
        connectSoon(client, afterUs: 1_000)
    }

    private func connectSoon(_ client: Client, afterUs wait: UInt64) {
        guard client.session == nil, !client.isConnecting else { return }
        client.isConnecting = true
        agenda.add(.connect(client.number), at: now + wait)
    }

    /// A client connects and subscribes, with what it has seen.
    func connect(_ number: Int) {
        let client = crowd.clients[number]
        client.isConnecting = false
        guard client.session == nil else { return }
        let choices = client.advice.isEmpty ? Array(nodes.indices) : client.advice
        let node = nodes[choices[client.roll(choices.count)]]
        client.advice = []
        guard node.isRunning, node.state == .up, !node.isPaused, node.owedBeforeAnew == nil else {
            return connectSoon(client, afterUs: 100_000 + UInt64(client.roll(400_000)))
        }
        let id = SessionID(UInt64(sessions.count) + 1)
        let session = Session(
            id: id, node: node.index, life: node.life, filter: nil, interests: client.interests, client: client,
            openedAfter: 0)
        sessions.append(session)
        node.sessions.append(session)
        client.session = session
        client.connections += 1
        client.connectedAt = now
        client.resumedFrom = client.cursor.flatMap { CompactVector(cursor: $0) } ?? CompactVector()
        (client.isReading, client.lastSequence) = (false, [:])
        client.readAtConnect = readAside(node)
        client.startedAt = client.startedAt ?? now
        if let cursor = client.cursor { noteResume(cursor, client) }
        feed(node, .sessionOpened(id))
        let filters = client.interests.map(\.json).joined(separator: ",")
        let cursor = client.cursor ?? (client.wantsAll ? "earliest" : "")
        feed(
            node, .sessionText(id),
            Array("{\"type\":\"subscribe\",\"filters\":[\(filters)],\"cursor\":\"\(cursor)\"}".utf8))
    }

    private func noteResume(_ cursor: String, _ client: Client) {
        tally.add(.resumes)
        let isBehind = CompactVector(cursor: cursor)?.entries.contains { entry in
            !client.readAtConnect.contains { entry.matches(ReplicaID($0.key)) && $0.value >= entry.sequence }
        }
        if isBehind == true { tally.add(.aheadResumes) }
    }

    /// How far a node has read each log, asked of a copy of it.
    private func readAside(_ node: Node) -> [UInt64: UInt64] {
        let opinions = answerAside(node, .cluster).flatMap { try? Eventually.opinions($0) } ?? []
        let own = opinions.first { $0.replica == node.replica.description }
        var read: [UInt64: UInt64] = [:]
        for (log, last) in own?.read ?? [:] {
            if let log = UInt64(log, radix: 16), let last = last.number { read[log] = UInt64(last) }
        }
        return read
    }

    /// A client is connected no longer. Its node hears of it a moment later.
    private func drop(_ client: Client) {
        guard let session = client.session else { return }
        session.isOpen = false
        nodes[session.node].sessions.removeAll { $0 === session }
        client.disconnect()
        agenda.add(.closed(session.id), at: now + 1)
    }

    /// A node hears that a client is gone.
    func closed(_ id: SessionID) {
        let session = sessions[Int(id.rawValue) - 1]
        let node = nodes[session.node]
        if node.isRunning, node.life == session.life { feed(node, .sessionClosed(id)) }
    }

    /// A client's node is gone.
    func lostNode(_ client: Client) {
        client.disconnect()
        connectSoon(client, afterUs: 20_000 + UInt64(client.roll(300_000)))
    }

    /// A client's node sends it away: what is on its way still comes, or a part of that.
    func sentAway(_ client: Client) {
        client.own += client.ring
        client.ring = []
        let count = client.roll(2) == 0 ? client.own.count : client.roll(client.own.count + 1)
        for frame in client.own.prefix(count) where client.session != nil { take(frame, client) }
        drop(client)
        connectSoon(client, afterUs: 20_000 + UInt64(client.roll(300_000)))
    }

    // MARK: What is on its way

    /// A client's node puts it on another channel: what it was owed of the last one comes first.
    func tuned(_ client: Client) {
        client.own += client.ring
        client.ring = []
        (client.ringBytes, client.lastMark) = (0, nil)
    }

    /// A message to a client, of its channel if it has a mark.
    func offer(_ message: Message, _ bytes: Int, mark: UInt64?, to client: Client) {
        let frame = Client.Frame(message: message, bytes: bytes, mark: mark)
        // Its node is about to hear that it was cut off.
        if client.hasOverrun, !client.isOverrunTold { return }
        if mark == nil {
            client.own.append(frame)
        } else {
            guard !client.hasOverrun else { return }
            client.ring.append(frame)
            client.ringBytes += bytes
        }
        guard let budget = client.budget, !client.isHasty else { return takeAll(client) }
        if client.ringBytes > budget, !client.hasOverrun, let id = client.session?.id {
            client.hasOverrun = true
            agenda.add(.overran(id), at: now + 1)
        }
        readLater(client)
    }

    /// A client has read too slowly: what it is owed of its channel is dropped, and its node told.
    func overran(_ id: SessionID) {
        let session = sessions[Int(id.rawValue) - 1]
        guard let client = session.client, client.session === session else { return }
        tally.add(.overruns)
        client.ring = []
        client.ringBytes = 0
        client.isOverrunTold = true
        session.channel = nil
        feed(nodes[session.node], .sessionOverran(id, mark: client.lastMark))
    }

    /// A node asks to be told when a client has taken all that was sent to it.
    func notify(_ client: Client, _ id: SessionID) {
        if client.own.isEmpty, client.ring.isEmpty {
            agenda.add(.emptied(id), at: now + 1_000)
        } else {
            client.wantsNotice = true
        }
    }

    private func readLater(_ client: Client) {
        guard !client.isReading, !client.own.isEmpty || !client.ring.isEmpty else { return }
        client.isReading = true
        let wait = client.roll(40) == 0 ? 300 + client.roll(1_500) : 1 + client.roll(40)
        agenda.add(.clientReads(client.number, connection: client.connections), at: now + UInt64(wait) * 1_000)
    }

    /// A slow client takes a few messages more.
    func reads(_ number: Int, connection: Int) {
        let client = crowd.clients[number]
        guard client.connections == connection, client.session != nil else { return }
        client.isReading = false
        for _ in 0..<1 + client.roll(4) { takeOne(client) }
        readLater(client)
    }

    func takeAll(_ client: Client) {
        while client.session != nil, takeOne(client) {}
    }

    @discardableResult
    private func takeOne(_ client: Client) -> Bool {
        let frame: Client.Frame
        if !client.own.isEmpty {
            frame = client.own.removeFirst()
        } else if !client.ring.isEmpty {
            frame = client.ring.removeFirst()
            client.ringBytes -= frame.bytes
        } else {
            return false
        }
        take(frame, client)
        if client.wantsNotice, client.own.isEmpty, client.ring.isEmpty, let id = client.session?.id {
            client.wantsNotice = false
            agenda.add(.emptied(id), at: now + 1_000)
        }
        return true
    }

    /// A client takes a message, and keeps the cursor that comes with it.
    private func take(_ frame: Client.Frame, _ client: Client) {
        if let mark = frame.mark { client.lastMark = mark }
        switch frame.message {
        case .event(let sighting, let cursor):
            guard let place = ledger.place(of: sighting.key) else { return }
            if let broken = shown(sighting, place: place, to: client) { return fail(broken.promise, broken.detail) }
            keep(cursor, client)
        case .subscribed(let cursor):
            client.isSubscribed = true
            if client.cursor == nil, !client.wantsAll, let cursor, let start = CompactVector(cursor: cursor) {
                client.start = start
            }
            keep(cursor, client)
        case .cursor(let cursor): keep(cursor, client)
        case .resumed(let recovered, let gaps):
            if let broken = resumed(client, recovered, gaps) { fail(broken.promise, broken.detail) }
        case .drain(let cursor, let addresses):
            tally.add(.drains)
            keep(cursor, client)
            client.advice = nodes.indices.filter { addresses.contains("http://10.0.0.\($0 + 1):5000") }
        case .overrun(let cursor): if let cursor { keep(cursor, client) }
        case .error(let text):
            guard text.contains("this node is reading what its peers have") else {
                return fail("a well-behaved client gets no error", text)
            }
            drop(client)
            connectSoon(client, afterUs: 100_000 + UInt64(client.roll(300_000)))
        case .other: break
        }
    }

    private func keep(_ cursor: String?, _ client: Client) {
        guard let cursor, CompactVector(cursor: cursor) != nil else {
            return fail("a client that asked for cursors gets one with each event", cursor ?? "none")
        }
        client.cursor = cursor
    }
}

extension CompactVector {
    /// Reads the text of a cursor; nil for anything else.
    init?(cursor: String) {
        let bytes = Array(cursor.utf8)
        guard let vector = try? CompactVector(text: bytes.span.bytes) else { return nil }
        self = vector
    }

    /// Whether an entry counts as seen.
    func names(_ name: EntryName) -> Bool {
        entries.contains { $0.matches(ReplicaID(name.replica)) && $0.sequence >= name.sequence }
    }
}
