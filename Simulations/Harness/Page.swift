internal import Gossip

/// The page that `--report` writes: the run as data, and a drawing made from it in the browser. Nothing is loaded from
/// anywhere, so that a page can be kept, sent and opened from a disk.
enum Page {
    /// The page about a run.
    static func html(_ outcome: Outcome, _ recorder: Recorder) -> String {
        let title = "\(outcome.scenario), seed \(outcome.seed)"
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(escaped(title)) · Hypha simulation</title>
            <style>
            \(PageStyle.css)
            </style>
            </head>
            <body>
            <script type="application/json" id="run">\(data(outcome, recorder))</script>
            \(PageStyle.body)
            <script>
            \(PageScript.drawing)
            \(PageScript.reading)
            </script>
            </body>
            </html>

            """
    }

    /// Text as HTML shows it.
    static func escaped(_ text: String) -> String {
        var out = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            default: out.unicodeScalars.append(character)
            }
        }
        return out
    }

    /// The run as one JSON object that may stand inside a script element. Times are milliseconds.
    static func data(_ outcome: Outcome, _ recorder: Recorder) -> String {
        var facts = [
            "story": text(outcome.scenario), "seed": text("\(outcome.seed)"), "again": text(outcome.again),
            "world": text("\(outcome.options)"), "trace": text(String(outcome.hash, radix: 16)),
            "end": number(recorder.endUs), "peers": list(recorder.names.map(text)),
            "plan": list((outcome.plan?.story ?? []).map(text)),
            "promise": text(Scenarios.named(outcome.scenario)?.promise ?? ""),
            "log": list(outcome.complaints.suffix(200).map(text)),
        ]
        if let plan = outcome.plan {
            let end = plan.quietMs + plan.durationMs
            facts["phases"] = list([
                list(["\(plan.quietMs)", text("agents begin")]), list(["\(end)", text("faults end")]),
                list(["\(end + plan.settleMs)", text("agents stop")]),
            ])
        }
        if let violation = outcome.violation {
            facts["broken"] = object(["promise": text(violation.promise), "detail": text(violation.detail)])
        }
        facts["tally"] = list(
            Trouble.allCases.filter { outcome.tally[$0] > 0 }.map {
                list([text($0.rawValue), "\(outcome.tally[$0])"])
            })
        facts["notes"] = list(recorder.notes.map { note($0.note, number($0.at), recorder.names.count) })
        facts["beliefs"] = list(
            recorder.changes.map { list([number($0.at), "\($0.observer)", "\($0.about)", "\($0.belief.rawValue)"]) })
        let samples = recorder.samples
        facts["samples"] = object([
            "at": list(samples.map { number($0.at) }),
            "missing": list(samples.map { list($0.missing.map { $0.map(String.init) ?? "null" }) }),
            "read": list(samples.map { list($0.read.map { $0.map(String.init) ?? "null" }) }),
            "waiting": list(samples.map { "\($0.waitingBytes)" }),
            "datagrams": list(samples.map { "\($0.traffic.datagramBytes)" }),
            "streams": list(samples.map { "\($0.traffic.streamBytes)" }),
        ])
        return object(facts)
    }

    private static func note(_ note: Recorder.Note, _ at: String, _ size: Int) -> String {
        func about(_ kind: String, _ node: Int, _ more: [String: String] = [:]) -> String {
            object(["at": at, "kind": text(kind), "peer": "\(node)"].merging(more) { a, _ in a })
        }
        switch note {
        case .started(let node, let wrongMs): return about("start", node, ["wrong": "\(wrongMs)"])
        case .killed(let node): return about("kill", node)
        case .leaving(let node): return about("leaving", node)
        case .left(let node): return about("left", node)
        case .stopped(let node, let ms): return about("stop", node, ["ms": "\(ms)"])
        case .reborn(let node): return about("reset", node)
        case .broken(let promise): return object(["at": at, "kind": text("broken"), "text": text(promise)])
        case .weather(let fault):
            let lasts: UInt64
            switch fault {
            case .burst(_, let ms), .slowLink(_, _, _, let ms): lasts = ms
            case .disk(_, let fault): lasts = fault.lastsMs
            default: lasts = 0
            }
            return object([
                "at": at, "kind": text("weather"), "name": text(fault.words[0]), "text": text(fault.story),
                "peers": list(fault.machines.map(String.init)), "ms": "\(lasts)",
            ])
        case .cut(let cuts):
            // Per peer, whom it no longer hears.
            let deaf = (0..<size).map { to in
                list(
                    (0..<size).filter { from in
                        from != to && cuts.contains { $0.from.contains(node: from) && $0.to.contains(node: to) }
                    }.map(String.init))
            }
            return object(["at": at, "kind": text("cut"), "deaf": cuts.isEmpty ? "[]" : list(deaf)])
        }
    }

    private static func number(_ microseconds: UInt64) -> String { "\(microseconds / 1_000)" }

    private static func list(_ elements: [String]) -> String { "[\(elements.joined(separator: ","))]" }

    private static func object(_ members: [String: String]) -> String {
        "{\(members.sorted { $0.key < $1.key }.map { "\(text($0.key)):\($0.value)" }.joined(separator: ","))}"
    }

    /// A JSON string; no "<" in it, so that no text ends the script element it stands in.
    static func text(_ text: String) -> String {
        var out = "\""
        for character in text.unicodeScalars {
            switch character {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "<": out += "\\u003c"
            case "\u{0}"..<"\u{20}", "\u{2028}", "\u{2029}":
                let digits = String(character.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: out.unicodeScalars.append(character)
            }
        }
        return out + "\""
    }
}
