// Renders a Go template as Ollama does: messages of one role in a row become one, then text/template. Reads {"template", "chats"} as JSON.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func collate(messages []message) (system string, merged []*message) {
	var systems []string
	for i := range messages {
		m := messages[i]
		if m.Role == "system" {
			systems = append(systems, m.Content)
		}
		if n := len(merged); n > 0 && merged[n-1].Role == m.Role {
			merged[n-1].Content += "\n\n" + m.Content
		} else {
			merged = append(merged, &m)
		}
	}
	return strings.Join(systems, "\n\n"), merged
}

func main() {
	var asked struct {
		Template string
		Chats    [][]message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	t := template.Must(template.New("").Option("missingkey=zero").Parse(asked.Template))
	texts := []string{}
	for _, chat := range asked.Chats {
		var out strings.Builder
		system, messages := collate(chat)
		if err := t.Execute(&out, map[string]any{"System": system, "Messages": messages, "Response": ""}); err != nil {
			panic(err)
		}
		texts = append(texts, out.String())
	}
	json.NewEncoder(os.Stdout).Encode(texts)
}
