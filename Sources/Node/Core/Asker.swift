/// Who asks: the agent that a request names in the header `Hypha-Agent` or as `?agent=`; nobody for whoever operates the
/// node. Until agents have to prove who they are, a node believes them, and lets an operator do everything.
public struct Asker: Equatable, Sendable {
    /// The agent's id; nil for an operator.
    public let agent: String?

    /// An agent, or with nil an operator.
    public init(_ agent: String? = nil) { self.agent = agent }
}

extension Asker {
    /// Who asks, where the body may say so too: one agent, or a mistake.
    func agent(or said: String?, _ field: StaticString) throws(NodeError) -> String? {
        guard let said, let agent else { return said ?? agent }
        guard said.utf8.elementsEqual(agent.utf8) else {
            throw NodeError(
                status: 403,
                message:
                    "\(field) is \(said.prefix(64)), but the request comes from \(agent.prefix(64)) (Hypha-Agent or "
                    + "?agent=); leave one of them out")
        }
        return agent
    }
}
