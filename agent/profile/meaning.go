package profile

import "strings"

// actions say what the words of a scope allow, for people.
var actions = map[string]string{
	"read":           "read below PATH",
	"write":          "create and change below PATH",
	"queue":          "queue jobs below PATH",
	"execute":        "execute below PATH",
	"storage.read":   "read below PATH",
	"storage.create": "create files below PATH, but overwrite none",
	"storage.modify": "create, change and delete below PATH",
	"storage.stage":  "bring files below PATH from tape and read them",
	"storage.poll":   "ask whether files below PATH are on disk",
	"compute.read":   "query jobs",
	"compute.modify": "change jobs",
	"compute.create": "submit jobs",
	"compute.cancel": "remove jobs",
	"openid":         "ask for an ID token",
	"offline_access": "ask for a refresh token",
	"profile":        "ask for the user's name",
	"email":          "ask for the user's address",
	"wlcg":           "ask for a token of the WLCG profile",
	"wlcg.groups":    "ask for the user's groups",
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
	action := actions[name]
	if colon != takesPath(name) {
		return ""
	}
	return strings.ReplaceAll(action, "PATH", target)
}
