internal import NodeCore
internal import Transport

extension API {
    static let tasks: [Endpoint] = []
    static let taskSchemas: [NamedSchema] = []
}
