import CRDT
import Gossip

/// What agents attend to (docs/agents.md).
extension NodeCore {
    /// What is asked about attention.
    mutating func answer(
        _ id: RequestID, _ request: AttentionRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .queue(let agent):
            try checkAgent(agent)
            try checkIs(asker, agent)
            replyAttention(id, agent, Reply(status: 200), now: now, into: &effects)
        case .set(let agent, let dialogue):
            try setDialogue(id, agent, dialogue, by: asker, bytes, now: now, into: &effects)
        case .drop(let agent, let dialogue):
            try dropDialogue(id, agent, dialogue, by: asker, now: now, into: &effects)
        case .next(let agent): try turnToNext(id, agent, by: asker, bytes, now: now, into: &effects)
        }
    }

    private func attention(of agent: String) -> AttentionQueue {
        AttentionQueue(documents.fields(of: DocumentKind.attention.name(agent)))
    }

    /// What an agent attends to now, as JSON text; nil for nothing.
    func focus(of agent: String) -> [UInt8]? {
        let name = DocumentKind.attention.name(agent)
        guard let focus = documents.value(of: AttentionQueue.focusField, in: name),
            let id = focus.span.bytes.jsonText.map({ String(decoding: $0, as: UTF8.self) }),
            documents.value(of: AttentionQueue.dialoguePrefix + id, in: name) != nil
        else { return nil }
        return focus
    }

    // MARK: - Writing

    /// Writes of a dialogue what the body says; the rest stays as it is.
    private mutating func setDialogue(
        _ request: RequestID, _ agent: String, _ id: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try checkAgent(agent)
        try checkIs(asker, agent)
        guard (1...Body.maximumTextBytes).contains(id.utf8.count) else {
            throw .invalid("dialogue_id: must have 1 to \(Body.maximumTextBytes) bytes")
        }
        let body = try Body(bytes)
        let queue = attention(of: agent)
        let known = queue[id]
        guard known != nil || queue.dialogues.count < AttentionQueue.maximum else {
            throw .conflict(
                "\(agent.prefix(64)) has \(AttentionQueue.maximum) dialogues already; drop one with DELETE "
                    + "/api/agents/{agent_id}/attention/{dialogue_id}")
        }
        var dialogue = known ?? AttentionQueue.Dialogue(id)
        let fresh = AttentionQueue.Dialogue(id)
        if known == nil { dialogue.lastMs = cluster.nowMs(now) }
        if let importance = try body.double("importance", 0...10) { dialogue.importance = importance }
        if let deadline = try body.moment("deadline") { dialogue.deadlineMs = deadline }
        if let relation = try body.double("relation", 0...1) { dialogue.relation = relation }
        if let last = try body.moment("last_interaction") { dialogue.lastMs = last }
        if let state = body["state"] { dialogue.state = state }
        if body.isNull("importance") { dialogue.importance = fresh.importance }
        if body.isNull("deadline") { dialogue.deadlineMs = nil }
        if body.isNull("relation") { dialogue.relation = fresh.relation }
        if body.isNull("state") { dialogue.state = .null }
        var reply = Reply(status: known == nil ? 201 : 200)
        if dialogue != known {
            reply.stamp = try putAttention(of: agent, [change(dialogue)], now: now, into: &effects)
        }
        replyAttention(request, agent, reply, now: now, into: &effects)
    }

    private mutating func dropDialogue(
        _ request: RequestID, _ agent: String, _ id: String, by asker: Asker, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try checkAgent(agent)
        try checkIs(asker, agent)
        let queue = attention(of: agent)
        guard queue[id] != nil else {
            throw .notFound(
                "\(agent.prefix(64)) has no dialogue \(id.prefix(64)) here; GET its attention for those it has")
        }
        let isFocus = queue.focus.map { $0.utf8.elementsEqual(id.utf8) } ?? false
        var changes: [DocumentMap.Change] = [.unset(field: AttentionQueue.dialoguePrefix + id)]
        if isFocus { changes.append(.unset(field: AttentionQueue.focusField)) }
        let stamp = try putAttention(of: agent, changes, now: now, into: &effects)
        if isFocus { try announceFocus(of: agent, by: asker, now: now, into: &effects) }
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    /// Saves the state of the dialogue that is left, and turns to the most urgent of the others.
    private mutating func turnToNext(
        _ request: RequestID, _ agent: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try checkAgent(agent)
        try checkIs(asker, agent)
        let body = try Body(bytes, mayBeEmpty: true)
        let queue = attention(of: agent)
        let nowMs = cluster.nowMs(now)
        var changes: [DocumentMap.Change] = []
        if var left = queue.focus.flatMap({ queue[$0] }) {
            if let state = body["state"] { left.state = state }
            if body.isNull("state") { left.state = .null }
            left.lastMs = nowMs
            changes.append(change(left))
        } else if body["state"] != nil {
            throw .conflict(
                "\(agent.prefix(64)) attends to nothing yet, so there is nothing whose state could be saved; ask without it"
            )
        }
        let next = queue.ordered(at: nowMs).lazy.map(\.dialogue)
            .first { dialogue in queue.focus.map { !$0.utf8.elementsEqual(dialogue.id.utf8) } ?? true }
        if let next {
            changes.append(.set(field: AttentionQueue.focusField, value: JSONValue.string(next.id).encoded()))
        }
        var reply = Reply(status: 200)
        if !changes.isEmpty { reply.stamp = try putAttention(of: agent, changes, now: now, into: &effects) }
        if next != nil { try announceFocus(of: agent, by: asker, now: now, into: &effects) }
        replyAttention(request, agent, reply, showsDialogue: true, now: now, into: &effects)
    }

    private func change(_ dialogue: AttentionQueue.Dialogue) -> DocumentMap.Change {
        .set(field: AttentionQueue.dialoguePrefix + dialogue.id, value: dialogue.stored.encoded())
    }

    private mutating func putAttention(
        of agent: String, _ changes: [DocumentMap.Change], now: Instant, into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp {
        let name = DocumentKind.attention.name(agent)
        guard documents.exists(name) else { return try create(name, changes, now: now, into: &effects) }
        return try put(name, changes, now: now, into: &effects)
    }

    private mutating func announceFocus(
        of agent: String, by asker: Asker, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let status = try agentView(agent).statusText
        try announceStatus(
            of: agent, status, before: status, source: asker.agent ?? agent, now: now, into: &effects)
    }

    // MARK: - Showing

    private mutating func replyAttention(
        _ request: RequestID, _ agent: String, _ reply: Reply, showsDialogue: Bool = false, now: Instant,
        into effects: inout Effects
    ) {
        let queue = attention(of: agent)
        let nowMs = cluster.nowMs(now)
        let start = effects.bytes.count
        var out = JSONObjectWriter(&effects.bytes)
        out.add("agent_id", agent, into: &effects.bytes)
        out.key("current_focus", into: &effects.bytes)
        effects.bytes += JSONValue.optional(queue.focus).encoded()
        if showsDialogue {
            out.key("dialogue", into: &effects.bytes)
            if let dialogue = queue.focus.flatMap({ queue[$0] }) {
                append(
                    dialogue, dialogue.priority(at: nowMs), unread: unread(of: agent, in: dialogue.id),
                    showsState: true, into: &effects.bytes)
            } else {
                effects.bytes.append(constant: "null")
            }
        }
        out.key("attention_queue", into: &effects.bytes)
        effects.bytes.append(UInt8(ascii: "["))
        for (i, (dialogue, priority)) in queue.ordered(at: nowMs).enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(
                dialogue, priority, unread: unread(of: agent, in: dialogue.id), showsState: !showsDialogue,
                into: &effects.bytes)
        }
        effects.bytes.append(UInt8(ascii: "]"))
        out.key("last_updated", into: &effects.bytes)
        AgentView.append(time: queue.updatedMs, into: &effects.bytes)
        out.close(into: &effects.bytes)
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    /// Messages that wait in a dialogue; nil where that is no chat of the agent's.
    private mutating func unread(of agent: String, in dialogue: String) -> Int? {
        role(of: agent, in: dialogue) == nil ? nil : unreadCount(of: agent, in: dialogue)
    }

    private func append(
        _ dialogue: AttentionQueue.Dialogue, _ priority: Double, unread: Int?, showsState: Bool,
        into bytes: inout [UInt8]
    ) {
        var out = JSONObjectWriter(&bytes)
        out.add("dialogue_id", dialogue.id, into: &bytes)
        // To the thousandth: the rest is noise to whoever reads it.
        out.add("priority", Double(Int(priority * 1_000 + 0.5)) / 1_000, into: &bytes)
        out.key("last_interaction", into: &bytes)
        AgentView.append(time: dialogue.lastMs, into: &bytes)
        out.add("importance", dialogue.importance, into: &bytes)
        out.key("deadline", into: &bytes)
        AgentView.append(time: dialogue.deadlineMs, into: &bytes)
        out.add("relation", dialogue.relation, into: &bytes)
        if let unread { out.add("unread", unread, into: &bytes) }
        if showsState {
            out.key("state", into: &bytes)
            bytes += dialogue.state.encoded()
        }
        out.close(into: &bytes)
    }
}
