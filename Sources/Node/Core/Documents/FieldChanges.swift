import CRDT

/// What is to be written to the fields of one document in one put. All of a put has one stamp, so of several writes to a
/// field only the last may go into it.
struct FieldChanges: Sendable {
    /// By the bytes of the field's name; nil removes it.
    private var values: [[UInt8]: [UInt8]?] = [:]
    /// In the order in which they were first written.
    private var fields: [String] = []

    mutating func set(_ field: String, _ value: [UInt8]?) {
        if values.updateValue(value, forKey: Array(field.utf8)) == nil { fields.append(field) }
    }

    /// The changes; a field that is not there need not be removed.
    func changes(of document: String, in documents: DocumentMap) -> [DocumentMap.Change] {
        fields.compactMap { field in
            if let value = values[Array(field.utf8)] ?? nil { return .set(field: field, value: value) }
            return documents.value(of: field, in: document) == nil ? nil : .unset(field: field)
        }
    }
}
