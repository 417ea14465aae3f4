"""Workers: the only room that imports OpenVINO. Everything in it runs in a child process."""
