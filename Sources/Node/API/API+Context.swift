internal import NodeCore
internal import Transport

extension API {
    static let context: [Endpoint] = []
    static let contextSchemas: [NamedSchema] = []
}
