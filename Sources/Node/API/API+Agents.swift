internal import NodeCore
internal import Transport

extension API {
    static let agents: [Endpoint] = []
    static let agentSchemas: [NamedSchema] = []
}
