"""In place of the child that scores: it needs no detector and imports nothing."""


def answer_with_the_name(_, connection):
    connection.send((True, ("a detector", "this is for tests")))
    while True:
        try:
            file, _ = connection.recv()
        except EOFError:
            return
        connection.send({"files": [{"path": file.name}]})
