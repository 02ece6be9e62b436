/// The page of the cost table, in Markdown: made of the rows alone, so that the same seed writes the same page.
struct CostPage {
    let rows: [CostCommand.Row]
    let command: CostCommand

    /// What IPv4 and UDP add to a datagram, and IPv4 and TCP with time stamps to a segment, in bytes.
    private static let datagramHeader = 28
    private static let segmentHeader = 52
    /// How long a link is silent before the shell's kernel asks (`LinkSettings.keepAliveSeconds`), in seconds.
    private static let keepIdle = 1_800.0

    var text: String {
        var parts = [head]
        let idle = rows.compactMap { if case .idle(let row) = $0 { row } else { nil } }
        let deaths = rows.compactMap { if case .deaths(let row) = $0 { row } else { nil } }
        let loss = rows.compactMap { if case .loss(let row) = $0 { row } else { nil } }
        let heal = rows.compactMap { if case .heal(let row) = $0 { row } else { nil } }
        let repair = rows.compactMap { if case .repair(let row) = $0 { row } else { nil } }
        if !idle.isEmpty { parts.append(section(idle)) }
        if !deaths.isEmpty { parts.append(section(deaths)) }
        if !loss.isEmpty { parts.append(section(loss)) }
        if !heal.isEmpty { parts.append(section(heal)) }
        if !repair.isEmpty { parts.append(section(repair)) }
        return parts.joined(separator: "\n")
    }

    private var head: String {
        """
        # What a cluster costs

        Simulated: the production gossip layer (`Gossip.Cluster`, LAN profile) of every peer, on a virtual network with
        0.3 to 0.4 ms from machine to machine and one 1 Gbit/s card per machine, everything decided by seed \(command.seed).
        Links are TCP as seen from above: frames come whole and in order, 200 ms and more later when a segment is lost.
        Slow start, the price of computing and the kernel's own segments are not simulated. Made by

            swift run -c release simulate cost\(command.hours == 24 ? "" : " --hours \(command.hours)") --write docs/cost.md

        and the 24 hours of the issue by `swift run -c release simulate cost --soak`.

        """
    }

    // MARK: Idle

    private func section(_ rows: [CostMeasure.Idle]) -> String {
        let lines = rows.map { row in
            let seconds = Double(row.seconds * row.peers)
            let datagrams = Double(row.datagrams) / seconds
            let bytes = Double(row.datagramBytes) / seconds
            let keepAlives = 2 * Double(row.peers - 1) / Self.keepIdle
            return line([
                "\(row.peers)", fixed(datagrams, 2), fixed(bytes, 0),
                fixed(bytes + datagrams * Double(Self.datagramHeader), 0), fixed(Double(row.frameBytes) / seconds, 1),
                fixed(keepAlives, 3), fixed(keepAlives * Double(Self.segmentHeader), 1), "\(row.falseDeaths)",
            ])
        }
        return """
            ## Idle

            Sent per peer and second while nothing happens, over \(rows[0].seconds) s, a minute after everybody knew everybody.
            The last three columns are beside the protocol: the keep-alive of the kernel is computed (each end of an idle
            link asks every \(fixed(Self.keepIdle / 60, 0)) min and answers as often; \(Self.segmentHeader) bytes a segment), not simulated.

            \(line(["peers", "datagrams/s", "bytes/s", "with IP and UDP headers", "link bytes/s", "keep-alive segments/s", "their bytes/s", "false deaths"]))
            \(rule(8))
            \(lines.joined(separator: "\n"))

            - **Datagrams do not grow with n**: each peer probes one other per second and is probed once per second on
              average, which is one ping and one answer sent.
            - **Their bytes do not grow with n**: ping and answer carry hashes of the member table and of the version
              vector, never the table or the vector; rumors ride on them only while something is new.
            - **Links are silent**: nothing is written to a link unless somebody writes a fact.
            - **The kernel's keep-alive grows with n − 1**, the number of links: it is the only part of idling that does,
              and asks so rarely that 300 links cost less than a tenth of the probes.

            """
    }

    // MARK: Deaths

    private func section(_ rows: [CostMeasure.Deaths]) -> String {
        let lines = rows.map { row in
            line([
                "\(row.peers)", "\(row.lastMs.count + row.unnoticed)", seconds(share(0.5, row.firstMs)),
                seconds(share(0.5, row.lastMs)), seconds(share(0.99, row.lastMs)), seconds(row.lastMs.last ?? 0),
                "\(row.unnoticed)", "\(row.falseDeaths)",
            ])
        }
        return """
            ## A death

            Seconds from a silent death (no reset, no answer: the machine is gone) until a survivor believes it, and until
            every survivor does. One peer dies at a time, and returns with an empty memory once all know.

            \(line(["peers", "kills", "first, median", "all, median", "all, p99", "all, longest", "unnoticed in 120 s", "false deaths"]))
            \(rule(8))
            \(lines.joined(separator: "\n"))

            - **Detection grows with log₁₀ n**: up to 1 s until a probe meets the dead peer, 1 s until it has failed, then a
              suspicion of 4 s × max(1, log₁₀ n) once three others confirmed it (8 s at 100 peers, 9.9 s at 300).
            - **The tail is chance**: about one peer per second probes the dead one, whatever n is; when fewer than three
              confirmed within the shortest suspicion it lasts longer (two confirmations: twice as long at most).
            - **From the first to the last survivor it takes rumors**: three peers per 200 ms from each that knows, so the
              number of rounds grows with log n.

            """
    }

    // MARK: Loss

    private func section(_ rows: [CostMeasure.Loss]) -> String {
        let lines = rows.map { row in
            let days = Double(row.simulatedMs) / 86_400_000
            return line([
                "\(row.peers)", "\(fixed(row.lossRate * 100, 0)) %", fixed(days * 24, 0), "\(row.falseDeaths)",
                fixed(Double(row.falseDeaths) / days, 1), fixed(Double(row.suspicions) / days, 1),
                fixed(Double(row.refutations) / days, 1),
                fixed(Double(row.datagrams) / Double(row.peers) / (days * 86_400), 2),
            ])
        }
        return """
            ## Loss

            Nobody dies; each datagram vanishes with the given chance, and so does each segment of a link (which only makes
            it late). A false death is an incarnation of a living peer that somebody called dead.

            \(line(["peers", "loss", "hours", "false deaths", "per day", "suspicions per day", "refutations per day", "datagrams/s per peer"]))
            \(rule(8))
            \(lines.joined(separator: "\n"))

            - **Suspicions grow with n and steeply with loss**: one needs a lost ping or answer, no answer through any of
              three others, and no answer over the link within the same interval. Three peers have only one other to ask.
            - **False deaths need more**: the rumor or every answer to it has to be lost for the whole suspicion.

            """
    }

    // MARK: Healing

    private func section(_ rows: [CostMeasure.Heal]) -> String {
        let lines = rows.map { row in
            line([
                "\(row.peers)", "\(row.writers)", "\(row.convergedMs.count)", seconds(share(0.5, row.convergedMs)),
                seconds(row.convergedMs.last ?? 0), seconds(row.unanimousMs.last ?? 0),
                fixed(Double(row.factBytes) / Double(2 * row.facts * row.convergedMs.count), 0),
                fixed(Double(row.frameBytes) / Double(max(1, row.wantedBytes)), 2),
            ])
        }
        return """
            ## A cut of 60 s

            Two halves hear nothing of each other for 60 s and write \(rows[0].facts) facts of 100 bytes each side, by up to ten
            peers of it. Seconds from the end of the cut until all have all facts, and until all trust all; and what went
            over links until then for each byte of facts that had to.

            \(line(["peers", "writers", "cuts", "converged, median", "longest", "all trust all, longest", "bytes per fact", "sent / needed"]))
            \(rule(8))
            \(lines.joined(separator: "\n"))

            - **The first contact comes sooner with more peers**: each peer announces itself to up to 32 it believes dead
              every 2 s, and the first answer of one is a rumor for all.
            - **Sending takes as long as the facts take on one card**: each peer asks one other for all that it lacks.
            - **What is sent beyond the facts grows with n**: each new link carries the whole member table both ways, so a
              peer gets n / 2 tables of n entries.
            - **A fact grows with the number of writers at work**: it names how far its author had read in each log that
              moved since the author's last one, about ten bytes for each.

            """
    }

    // MARK: Repair

    private func section(_ rows: [CostMeasure.Repair]) -> String {
        let lines = rows.map { row in
            line([
                "\(row.missing)", "\(row.facts)", row.convergedMs.map(seconds) ?? "never", "\(row.ownBytes)",
                "\(row.factFrameBytes - row.ownBytes)", "\(row.frameBytes - row.factFrameBytes)",
                fixed(Double(row.frameBytes) / Double(row.missing), 0),
            ])
        }
        return """
            ## Repair

            Three peers, two writers; the third is cut off for a minute and misses the last k of n facts. Bytes on all links
            from the end of the cut until 5 s after it has them.

            \(line(["k", "n", "seconds", "the facts themselves", "their framing", "everything else", "bytes per missing fact"]))
            \(rule(7))
            \(lines.joined(separator: "\n"))

            - **Repair grows with k, not with n**: framing is a few bytes a fact, and everything else (two handshakes with a
              vector each, two member tables, one request, one receipt) grows with the number of logs and members.

            """
    }

    // MARK: Numbers

    private func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
    private func rule(_ count: Int) -> String { "|" + String(repeating: "---:|", count: count) }

    private func seconds(_ milliseconds: UInt64) -> String { fixed(Double(milliseconds) / 1_000, 2) }

    /// The value that so large a share of the sorted values does not exceed.
    private func share(_ share: Double, _ sorted: [UInt64]) -> UInt64 {
        guard !sorted.isEmpty else { return 0 }
        return sorted[max(0, min(sorted.count - 1, Int((share * Double(sorted.count)).rounded(.up)) - 1))]
    }

    /// A number with so many decimals.
    private func fixed(_ value: Double, _ decimals: Int) -> String {
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        let number = Int((value * scale).rounded())
        guard decimals > 0 else { return "\(number)" }
        let digits = String(number)
        let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.utf8.count)) + digits
        return "\(padded.dropLast(decimals)).\(padded.suffix(decimals))"
    }
}
