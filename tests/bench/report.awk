# Turns lines "ROUND LAUNCHER WHAT NAME=VALUE..." into Markdown tables of medians. Ratios are medians of the ratios
# within a round, so that load from elsewhere, which comes and goes, weighs on both sides alike.

# A run of which a tenth has failed measures nothing.
match($0, / failed=[0-9]+/) {
    failed = substr($0, RSTART + 8, RLENGTH - 8) + 0
    failures[$2] += failed
    match($0, / done=[0-9]+/)
    if (failed * 10 > substr($0, RSTART + 6, RLENGTH - 6)) next
}

{
    for (i = 4; i <= NF; i++) {
        split($i, pair, "=")
        value[$3, $2, pair[1], $1] = pair[2]
        if ($1 > rounds) rounds = $1
    }
    seen[$3, $2] = 1
    seen[$3] = 1
}

function median_of(count,    i, j, held) {
    for (i = 2; i <= count; i++) {
        held = list[i]
        for (j = i - 1; j > 0 && list[j] > held; j--) list[j + 1] = list[j]
        list[j + 1] = held
    }
    return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
}

# "" if nothing was measured.
function median(what, who, name,    round, count) {
    for (round = 1; round <= rounds; round++)
        if ((what, who, name, round) in value) list[++count] = value[what, who, name, round] + 0
    return count ? median_of(count) : ""
}

function ratio(what, who, name, base_what, base,    round, count, below) {
    for (round = 1; round <= rounds; round++) {
        below = value[base_what, base, name, round]
        if ((what, who, name, round) in value && below > 0) list[++count] = value[what, who, name, round] / below
    }
    return count ? median_of(count) : ""
}

function show(form, number) { return number == "" ? "-" : sprintf(form, number) }
function ms(us) { return show("%.2f", us == "" ? "" : us / 1000) }

function label(who) {
    if (who == "floor") return "floor: clone, no wait"
    if (who == "floor-vfork") return "naive floor: vfork"
    if (who == "tcpserver") return "tcpserver (ucspi-tcp-ipv6)"
    if (who == "tcpsvd") return "tcpsvd (ipsvd)"
    if (who == "busybox-tcpsvd") return "tcpsvd (busybox)"
    if (who == "inetd") return "openbsd-inetd"
    return who == "skd" ? "**skd**" : who
}

function speed_table(what, title,    i, who) {
    if (!(what in seen)) return
    print "\n" title "\n"
    print "| launcher | conn/s | x floor | p50 ms | p99 ms | p99.9 ms | CPU us/conn | x floor |"
    print "|---|---|---|---|---|---|---|---|"
    for (i = 1; i <= launchers; i++) {
        who = order[i]
        if ((what, who) in seen)
            print "| " label(who) " | " show("%.0f", median(what, who, "rate")) \
                " | " show("%.2f", ratio(what, who, "rate", what, "floor")) " | " ms(median(what, who, "p50")) \
                " | " ms(median(what, who, "p99")) " | " ms(median(what, who, "p999")) \
                " | " show("%.1f", median(what, who, "cpu")) \
                " | " show("%.2f", ratio(what, who, "cpu", what, "floor")) " |"
    }
}

function held_table(    i, j, who, row) {
    print "\nCPU us per connection with connections held open (16 clients; each child reads a byte)\n"
    row = "| launcher |"
    for (j = 1; j <= levels; j++) row = row " " level[j] " |"
    print row " x none, 8,000 | x none, 10,000 | private dirty kB, none / 10,000 |"
    row = "|---|"
    for (j = 1; j <= levels + 3; j++) row = row "---|"
    print row
    for (i = 1; i <= launchers; i++) {
        who = order[i]
        if (!(("held/0", who) in seen)) continue
        row = "| " label(who) (who == "s6-ipcserverd" ? " (unix)" : "") " |"
        for (j = 1; j <= levels; j++) row = row " " show("%.1f", median("held/" level[j], who, "cpu")) " |"
        print row " " show("%.2f", ratio("held/8000", who, "cpu", "held/0", who)) \
            " | " show("%.2f", ratio("held/10000", who, "cpu", "held/0", who)) \
            " | " show("%d", median("held/0", who, "dirty")) " / " show("%d", median("held/10000", who, "dirty")) " |"
    }
}

function rest_table(    i, who) {
    print "\nAt rest, and started (skd -1: until it has printed the port)\n"
    print "| launcher | RSS kB | PSS kB | private dirty kB | context switches in 5 s | start to first connect ms" \
        " | binary kB |"
    print "|---|---|---|---|---|---|---|"
    for (i = 1; i <= launchers; i++) {
        who = order[i]
        if (("idle", who) in seen)
            print "| " label(who) " | " median("idle", who, "rss") " | " median("idle", who, "pss") \
                " | " median("idle", who, "private_dirty") " | " median("idle", who, "woken") \
                " | " ms(median("ready", who, "ready")) " | " show("%.0f", median("idle", who, "size") / 1000) " |"
    }
    print "| **skd** -1 | | | | | " ms(median("ready-line", "skd", "ready")) " | |"
}

function many_table(    i, who) {
    print "\nAfter the first 1,000 connections / after " many " more\n"
    print "| launcher | RSS kB | private dirty kB | descriptors |\n|---|---|---|---|"
    for (i = 1; i <= launchers; i++) {
        who = order[i]
        if (("many/last", who) in seen)
            print "| " label(who) " | " both(who, "rss") " | " both(who, "dirty") " | " both(who, "fds") " |"
    }
}
function both(who, name) { return median("many/first", who, name) " / " median("many/last", who, name) }

function fair_table(    i, who) {
    print "\nA second listener, one client every 5 ms: alone / while 64 clients flood the first\n"
    print "| launcher | p50 ms | p99 ms |\n|---|---|---|"
    for (i = 1; i <= launchers; i++) {
        who = order[i]
        if (("fair/flooded", who) in seen)
            print "| " label(who) \
                " | " ms(median("fair/rest", who, "p50")) " / " ms(median("fair/flooded", who, "p50")) \
                " | " ms(median("fair/rest", who, "p99")) " / " ms(median("fair/flooded", who, "p99")) " |"
    }
}

# One line of the budget. `most` is 1 for an upper bound, 0 for a lower one.
function judge(what, form, number, bound, most) {
    print "| " what " | " (most ? "<= " : ">= ") bound " | " show(form, number) " | " \
        (number == "" ? "not measured" : (most ? number <= bound : number >= bound) ? "met" : "**not met**") " |"
}

# Against the best peer that makes a process per connection: the smallest of CPU, the greatest of rate.
function best(name, least,    i, who, number, found) {
    for (i = 1; i <= launchers; i++) {
        who = order[i]
        if (who ~ /^(floor|skd)/ || !(("nothing/16", who) in seen)) continue
        number = ratio("nothing/16", "skd", name, "nothing/16", who)
        if (found == "" || (least ? number > found : number < found)) found = number
    }
    return found
}

function budget(    child, grown) {
    child = median("held/10000", "skd", "dirty")
    if (child != "") child = (child - median("held/0", "skd", "dirty")) * 1024 / 10000
    grown = median("many/last", "skd", "dirty") - median("many/first", "skd", "dirty")
    print "\nThe figures to reach (16 clients, do-nothing program, where nothing else is said)\n"
    print "| figure | to reach | measured | |\n|---|---|---|---|"
    judge("CPU per connection, x floor", "%.2f", ratio("nothing/16", "skd", "cpu", "nothing/16", "floor"), 1.6, 1)
    judge("CPU per connection, x best peer measured", "%.2f", best("cpu", 1), 0.67, 1)
    judge("throughput, x floor", "%.2f", ratio("nothing/16", "skd", "rate", "nothing/16", "floor"), 0.85, 0)
    judge("throughput, x best peer measured", "%.2f", best("rate", 0), 1.4, 0)
    judge("p99 latency, x floor", "%.2f", ratio("nothing/16", "skd", "p99", "nothing/16", "floor"), 1.2, 1)
    judge("CPU per connection, 8,000 live children, x none", "%.2f", \
        ratio("held/8000", "skd", "cpu", "held/0", "skd"), 1.5, 1)
    judge("CPU per connection, 10,000 live children, x none", "%.2f", \
        ratio("held/10000", "skd", "cpu", "held/0", "skd"), 1.5, 1)
    judge("private dirty bytes per live child, 10,000", "%.0f", child, 200, 1)
    judge("private dirty kB at rest", "%d", median("idle", "skd", "private_dirty"), 400, 1)
    judge("context switches in 5 s at rest", "%d", median("idle", "skd", "woken"), 0, 1)
    judge("private dirty kB more after " many " connections", "%d", grown, 16, 1)
    judge("descriptors more after " many " connections (2 are the reaper\047s)", "%d", \
        median("many/last", "skd", "fds") - median("many/first", "skd", "fds"), 2, 1)
    judge("start to the port printed, ms", "%.2f", median("ready-line", "skd", "ready") / 1000, 5, 1)
    judge("start to first connect, ms", "%.2f", median("ready", "skd", "ready") / 1000, 5, 1)
    judge("binary, MB", "%.2f", median("idle", "skd", "size") / 1e6, 1.2, 1)
    judge("second listener while the first is flooded, p50 ms", "%.2f", \
        median("fair/flooded", "skd", "p50") / 1000, 10, 1)
}

END {
    every_launcher = "floor floor-vfork skd tcpserver tcpsvd busybox-tcpsvd s6-ipcserverd socat xinetd inetd"
    launchers = split(every_launcher, order, " ")
    print "Medians over rounds in which all are measured one after the other in a new order; ratios are medians of the"
    print "ratios within a round. CPU is the launcher's own, its children's is not counted. A dash: could not be had."
    split("1 16 64", clients, " ")
    for (i = 1; i <= 3; i++)
        speed_table("nothing/" clients[i], "**A program that does nothing, " clients[i] " at once**")
    for (i = 1; i <= 3; i++) speed_table("cat/" clients[i], "**/bin/cat, " clients[i] " at once**")
    speed_table("unix/16", "**A unix socket, a program that does nothing, 16 at once**")
    split("0 1000 4000 8000 10000", every, " ")
    for (i = 1; i <= 5; i++) if (("held/" every[i]) in seen) level[++levels] = every[i]
    held_table()
    rest_table()
    many_table()
    fair_table()
    budget()
    for (i = 1; i <= launchers; i++)
        if (failures[order[i]]) print "\n" label(order[i]) ": " failures[order[i]] " connections failed."
}
