/// The shape of a JSON value: the part of JSON Schema 2020-12 that the reference needs.
indirect enum Schema: Sendable {
    /// A text; `format` as JSON Schema has it, for example `date-time` or `uuid`.
    /// Its length in characters, a regular expression that it matches.
    case text(
        format: String? = nil, choices: [String] = [], length: ClosedRange<Int>? = nil, pattern: String? = nil,
        about: String = "")
    /// A whole number.
    case integer(ClosedRange<Int>? = nil, about: String = "")
    /// A number.
    case number(ClosedRange<Double>? = nil, about: String = "")
    case boolean(about: String = "")
    /// Values of one shape; so many of them.
    case array(Schema, length: ClosedRange<Int>? = nil)
    /// An object; what is not named may be there too where it `isOpen`, under names of these lengths.
    case object([Property], isOpen: Bool = true, names: ClosedRange<Int>? = nil)
    /// An object all of whose members are of one shape.
    case map(Schema)
    /// One of the named schemas of the reference.
    case named(String)
    /// One of these, or several at once.
    case anyOf([Schema])
    /// This, or null.
    case optional(Schema)
    /// Any JSON value.
    case any

    struct Property: Sendable {
        let name: String
        let schema: Schema
        var isRequired = false
        var about = ""

        /// A member that is always there.
        static func required(_ name: String, _ schema: Schema, _ about: String = "") -> Property {
            Property(name: name, schema: schema, isRequired: true, about: about)
        }
        /// A member that may be missing.
        static func maybe(_ name: String, _ schema: Schema, _ about: String = "") -> Property {
            Property(name: name, schema: schema, about: about)
        }
        /// A member that may be missing, or null.
        static func orNull(_ name: String, _ schema: Schema, _ about: String = "") -> Property {
            Property(name: name, schema: .optional(schema), about: about)
        }
    }

    /// A short text that is not empty: a name, an id, a scope.
    static let name = Schema.text(length: 1...1_024)
    /// A text that is not empty; where it is longer than a name may be, there is nothing of that name.
    static let wanted = Schema.text(length: 1...Int.max)
    /// A universally unique identifier.
    static let uuid = Schema.text(format: "uuid")
    /// A moment as ISO 8601 text.
    static let time = Schema.text(format: "date-time")
    /// A moment as a client may write it: text, or milliseconds since the Unix epoch.
    static let moment = Schema.anyOf([.time, .integer(0...(1 << 47) - 1)])
    /// How many there are of something.
    static let count = Schema.integer(0...Int.max)
}

/// A schema that several routes share.
struct NamedSchema: Sendable {
    let name: String
    let schema: Schema
}
