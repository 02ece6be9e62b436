internal import NodeCore
internal import Transport

extension API {
    static let turns: [Endpoint] = []
    static let turnSchemas: [NamedSchema] = []
}
