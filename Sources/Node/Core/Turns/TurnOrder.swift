import CRDT

/// A request about turns with its body read.
struct TurnOrder: Sendable {
    enum What: Sendable {
        case ask(priority: Int)
        case grant
        case release(FencingToken?)
        case revoke
        case rules(Body)
    }

    let chat: String
    let what: What
    /// Whom it is about.
    let agent: String?

    /// Refuses what is not a request, or is said to come from somebody else.
    init(_ request: TurnRequest, by asker: Asker, _ bytes: RawSpan) throws(NodeError) {
        let body = try Body(bytes, mayBeEmpty: true)
        let said = try body.text("agent_id")
        switch request {
        case .speaker(let chat):
            preconditionFailure("reading the turns of \(chat) is nothing to decide")
        case .ask(let chat):
            self.chat = chat
            let priority = try body.number("priority", TurnState.priorities) ?? TurnState.defaultPriority
            what = .ask(priority: priority)
            guard let agent = try asker.agent(or: said, "agent_id") else {
                throw .invalid(field: "agent_id", "required, the agent that wants to speak")
            }
            self.agent = agent
        case .grant(let chat):
            self.chat = chat
            what = .grant
            agent = said
        case .release(let chat):
            self.chat = chat
            var token: FencingToken?
            if let number = try body.number("token", 1...(1 << 53 - 1)) { token = FencingToken(rawValue: number) }
            what = .release(token)
            agent = try asker.agent(or: said, "agent_id")
        case .revoke(let chat):
            self.chat = chat
            what = .revoke
            agent = nil
        case .setRules(let chat):
            self.chat = chat
            what = .rules(body)
            agent = try asker.agent(or: said, "agent_id")
            _ = try TurnRules(TurnRules(), changedBy: body)
        }
    }
}
