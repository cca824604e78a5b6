package profile

import (
	"slices"
	"strings"
)

// actions say what the words of a scope allow, for people.
var actions = map[string]string{
	"read":           "read below %s",
	"write":          "create and change below %s",
	"queue":          "queue jobs below %s",
	"execute":        "execute below %s",
	"storage.read":   "read below %s",
	"storage.create": "create files below %s, but overwrite none",
	"storage.modify": "create, change and delete below %s",
	"storage.stage":  "bring files below %s from tape and read them",
	"storage.poll":   "ask whether files below %s are on disk",
	"compute.read":   "query jobs",
	"compute.modify": "change jobs",
	"compute.create": "submit jobs",
	"compute.cancel": "remove jobs",
	"openid":         "ask for an ID token",
	"offline_access": "ask for a refresh token",
}

var levelActions = map[string]string{
	"READ":             "query the pool and the queue",
	"WRITE":            "submit and manage jobs",
	"DAEMON":           "act as a daemon of the pool",
	"NEGOTIATOR":       "act as the negotiator",
	"ADMINISTRATOR":    "administer the pool",
	"CONFIG":           "change the configuration from afar",
	"ADVERTISE_MASTER": "announce a master to the collector",
	"ADVERTISE_STARTD": "announce a worker node to the collector",
	"ADVERTISE_SCHEDD": "announce a schedd to the collector",
}

// Meaning says in plain words what one word of a scope lets the bearer do; ""
// for a word that it does not know.
func Meaning(word string) string {
	if level, ok := strings.CutPrefix(word, "condor:/"); ok {
		return levelActions[level]
	}
	name, target, colon := strings.Cut(word, ":")
	action, takesPath := actions[name], slices.Contains(wlcgWords.paths, name) || slices.Contains(sciTokensWords.paths, name)
	if colon != takesPath {
		return ""
	}
	return strings.ReplaceAll(action, "%s", target)
}
