import CRDT

/// A request about one task with its body read.
struct TaskOrder: Sendable {
    enum What: Sendable {
        case claim(leaseMs: UInt64?)
        case complete(FencingToken, JSONValue)
        case fail(FencingToken, reason: String?)
        case cancel
        case rate(Int)
    }

    let task: String
    let what: What
    /// Whose doing it is; nil for an operator's.
    let agent: String?

    /// Refuses what is not a request, or is said to come from somebody else.
    init(_ request: TaskRequest, by asker: Asker, _ bytes: RawSpan) throws(NodeError) {
        let body = try Body(bytes, mayBeEmpty: true)
        let said = try asker.agent(or: try body.text("agent_id"), "agent_id")
        func token() throws(NodeError) -> FencingToken {
            guard let number = try body.number("token", 1...(1 << 53 - 1)), let token = FencingToken(rawValue: number)
            else { throw .invalid(field: "token", "required, the token that claiming the task gave") }
            return token
        }
        switch request {
        case .post, .tasks, .task, .reputation: preconditionFailure("there is nothing to decide about \(request)")
        case .claim(let task):
            self.task = task
            what = .claim(leaseMs: try body.number("lease_ms", TaskTerms.leases).map { UInt64($0) })
        case .complete(let task):
            self.task = task
            what = .complete(try token(), body["result"] ?? .null)
        case .fail(let task):
            self.task = task
            what = .fail(try token(), reason: try body.text("reason"))
        case .cancel(let task):
            self.task = task
            what = .cancel
        case .rate(let task):
            self.task = task
            guard let rating = try body.number("rating", -1...1), rating != 0 else {
                throw .invalid(field: "rating", "required: 1 for work done well, -1 for work done badly")
            }
            what = .rate(rating)
        }
        agent = said
        switch what {
        case .claim, .complete, .fail:
            guard said != nil else { throw .invalid(field: "agent_id", "required, the agent that does the task") }
        case .cancel, .rate: break
        }
    }
}
