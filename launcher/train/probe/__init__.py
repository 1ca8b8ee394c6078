"""The engine tried where it is about to run: is each way to compute a step right, and how fast is it?"""
