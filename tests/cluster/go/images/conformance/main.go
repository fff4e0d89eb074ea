// What the images of critest need beside busybox, by the name it is called with:
//
//	nginx, httpd   serve a page: nginx on port 80 or $PORT, with its name, file and title of a process; httpd on port 80
//	ipcs           lists segments of shared memory
//	pgrep NAME     lists processes of that name
//	nnp            says who it runs as
package main

import (
	"bytes"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	nginxTitle   = "nginx: master process nginx"
	nginxPidFile = "/var/run/nginx.pid"
)

func main() {
	called := os.Args[0]
	switch name := filepath.Base(called); {
	case called == nginxTitle:
		must(os.MkdirAll(filepath.Dir(nginxPidFile), 0o755))
		must(os.WriteFile(nginxPidFile, fmt.Appendln(nil, os.Getpid()), 0o644))
		serve("nginx")
	case name == "nginx":
		// A process has its title from whoever executes it.
		must(syscall.Exec("/bin/nginx", []string{nginxTitle}, os.Environ()))
	case name == "httpd":
		serve("httpd")
	case name == "ipcs":
		segments, err := os.ReadFile("/proc/sysvipc/shm")
		must(err)
		listSegments(segments)
	case name == "pgrep":
		os.Exit(listProcesses(os.Args[1]))
	case name == "nnp":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	default:
		log.Fatalf("%s is nothing that this program does", name)
	}
}

func serve(name string) {
	port := os.Getenv("PORT")
	if port == "" {
		port = "80"
	}
	log.Printf("%s serves port %s", name, port)
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(answer, name) })
	log.Fatal(http.ListenAndServe(":"+port, nil))
}

// listSegments prints the identifiers, which are the second column behind a line of headings.
func listSegments(table []byte) {
	fmt.Println("shmid")
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] != "key" {
			fmt.Println(fields[1])
		}
	}
}

// listProcesses is 1 where there is none, as everybody's pgrep is.
func listProcesses(name string) int {
	code := 1
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	must(err)
	for _, file := range files {
		// One that cannot be read has ended.
		if comm, err := os.ReadFile(file); err == nil && bytes.Contains(comm, []byte(name)) {
			fmt.Println(filepath.Base(filepath.Dir(file)))
			code = 0
		}
	}
	return code
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
