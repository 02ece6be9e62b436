internal import NodeCore
internal import Transport

extension API {
    static let attention: [Endpoint] = []
    static let attentionSchemas: [NamedSchema] = []
}
